"""Run configuration and run state of the detection pipeline."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detection.detector import Detector
from detection.inference.options import DetectionOptions
from detection.pipeline.frame_result import Summary
from detection.tiling.tiling import Tiling

if TYPE_CHECKING:
    from detection.tracking.counting import Counting


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Settings of a run that do not change while it runs.

    Attributes:
        detector: the model.
        every: with N only every Nth frame of a video is analyzed.
        counting: lines and zones whose crossings are counted; None without tracking.
        numbers: whether rates and ages are drawn on frames of live sources.
        retries: attempts in a row to reconnect a lost stream.
        tiling: tiles to detect in beside each image; None for none. Of a live source only as many per frame as its
            frame rate leaves time for.
    """

    detector: Detector
    every: int = 1
    counting: "Counting | None" = None
    numbers: bool = True
    retries: int = 30
    tiling: Tiling | None = None


@dataclass(slots=True)
class RunState:
    """State of a run that changes while it runs.

    Attributes:
        options: thresholds and classes; the keys + and - change the threshold.
        summaries: one for each input that could be read, at least in part.
        failed: number of inputs that could not be read, or not to their end.
        lost: number of live sources among them.
        seconds: wall time of the run so far.
        quit: whether the user has closed the view.
    """

    options: DetectionOptions
    summaries: list[Summary] = field(default_factory=list)
    failed: int = 0
    lost: int = 0
    seconds: float = 0.0
    quit: bool = False
