"""Result of one frame, and the summary of one source."""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from detection.detector import DetectionFuture
from detection.inference.prediction import Prediction
from detection.pipeline.inputs import InputSource
from detection.tiling.tiled_batch import TiledBatch

if TYPE_CHECKING:
    from detection.tracking.counting import Event
    from detection.tracking.tracker import Tracked
    from detection.video.stream_stats import StreamStats


@dataclass(slots=True)
class Summary:
    """Totals of one source.

    Attributes:
        item: the input.
        frames: number of analyzed images or frames.
        counts: number of detections by class name.
        tracks: counts of tracked objects at the last frame; None without tracking.
        stream_stats: rates, ages and losses of a live source; None for files.
    """

    item: InputSource
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    tracks: dict[str, Any] | None = None
    stream_stats: "StreamStats | None" = None


@dataclass(slots=True)
class FrameResult:
    """Image or frame on its way through the pipeline, with its detections.

    Attributes:
        item: the input that it comes from.
        problem: reason why it could not be read; the other fields are empty then.
        index: 0-based frame number.
        time: seconds from the start of the video; None for images.
        image: (H, W, 3) uint8 RGB, annotated once it has been drawn; None where no sink needs images.
        width: in pixels.
        height: in pixels.
        future: inference under way.
        prediction: detections; with `--every` a frame that is not analyzed has those of the last analyzed one.
        tracked: detections with track ids; None without tracking.
        captured: capture time of a live frame, on the clock of `time.monotonic()`.
        delivered: time at which a sink had written or shown it, on the same clock; 0 where none states it.
        analyzed: whether the network processed this frame.
        events: line crossings, zone entries and exits.
        status: rates, ages and losses of a live source, in one line.
    """

    item: InputSource
    problem: str | None = None
    index: int = 0
    time: Fraction | None = None
    image: np.ndarray | None = None
    width: int = 0
    height: int = 0
    future: DetectionFuture | TiledBatch | None = None
    prediction: Prediction | None = None
    tracked: "Tracked | None" = None
    captured: float = 0.0
    delivered: float = 0.0
    analyzed: bool = False
    events: "tuple[Event, ...]" = ()
    status: str = ""

    def result(self) -> Self:
        """Wait for the network."""
        if self.future is not None:
            (self.prediction,) = self.future.result()
            self.future = None
        return self
