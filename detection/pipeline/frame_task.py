"""Frame result, and the summary of a run."""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from detection.detector import DetectionFuture
from detection.inference.prediction import Prediction
from detection.pipeline.inputs import InputSource

if TYPE_CHECKING:
    from detection.tracking.counting import Event
    from detection.tracking.tracker import Tracked
    from detection.video.stream_stats import StreamStats


@dataclass(slots=True)
class Summary:
    """What an item came to.

    Attributes:
        frames: pictures or frames that were looked at; counts: how often each class was found in them.
        tracks: counts of tracks, as of the last frame; None where nothing is tracked.
        figures: of a live source.
    """

    item: InputSource
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    tracks: dict[str, Any] | None = None
    figures: "StreamStats | None" = None


@dataclass(slots=True)
class FrameResult:
    """A picture on its way: what it is, the network's work on it, and what that found.

    problem: why it could not be read; there is no more to it then. time: seconds from the video's start. captured: when
    a live one was taken, `time.monotonic()`. tracked: what was found, with tracks. analyzed: whether the network had
    this frame; with `--every` the others carry the last one's detections. events: crossings, zone entries and exits.
    """

    item: InputSource
    problem: str | None = None
    index: int = 0
    time: Fraction | None = None
    image: np.ndarray | None = None
    width: int = 0
    height: int = 0
    future: DetectionFuture | None = None
    prediction: Prediction | None = None
    tracked: "Tracked | None" = None
    captured: float = 0.0
    analyzed: bool = False
    events: "tuple[Event, ...]" = ()

    def result(self) -> Self:
        """Wait for the network."""
        if self.future is not None:
            (self.prediction,) = self.future.result()
            self.future = None
        return self
