"""What is done with every picture that was looked at, whatever it came from: counted, drawn, written, shown."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.images.image_io import write_image
from detection.detector import Detector
from detection.display.base import View
from detection.drawing import draw
from detection.inference.options import DetectionOptions
from detection.inference.result_formats import to_json_line
from detection.pipeline.frame_task import FrameResult, Summary
from detection.pipeline.progress import Progress
from detection.video.video_writer import VideoWriter

if TYPE_CHECKING:
    from detection.tracking.counting import Counting
    from detection.tracking.tracker import Tracker


STEP = 0.05  # by which + and - move the threshold
PAUSE = 0.03  # seconds between two looks at the keys


@dataclass(slots=True)
class Outputs:
    """What is done with every picture.

    Attributes:
        detector: finds.
        search: what is looked for; the keys + and - change it.
        output: folder of annotated copies; None for none.
        write_line: takes each line of JSON; None for none.
        window: shows each annotated picture; None for none.
        progress: is told.
        every: with N only every Nth frame of a video is looked at.
        counting: lines and zones whose crossings are counted; None where nothing is tracked.
        snapshot_every: seconds of a video from one annotated picture of it to the next; None for none.
        numbers: whether live pictures bear their rates and ages.
        retries: how often in a row a lost stream is tried again.
        summaries: grows by one for each item that could be read, at least in part.
        failed: how many items could not be read, or not to their end; lost: how many of them live sources.
        seconds: how long `run` has taken.
    """

    detector: Detector
    search: DetectionOptions
    output: Path | None
    write_line: Callable[[str], None] | None
    window: View | None
    progress: Progress
    every: int = 1
    counting: "Counting | None" = None
    snapshot_every: float | None = None
    numbers: bool = True
    retries: int = 30
    summaries: list[Summary] = field(default_factory=list)
    failed: int = 0
    lost: int = 0
    seconds: float = 0.0

    @property
    def wanted(self) -> bool:
        """Whether anyone wants the pictures themselves."""
        return self.output is not None or self.window is not None

    def tracker(self, rate: Fraction) -> "Tracker | None":
        """A new tracker for a video of so many frames a second, where there is to be one."""
        if self.counting is None:
            return None
        from detection.tracking.tracker import Tracker

        confidence = self.search.confidence
        return Tracker(self.detector.class_names, rate / self.every, self.counting, confidence=confidence)

    @property
    def looking(self) -> DetectionOptions:
        """What the network looks for: a tracker takes weaker boxes, too."""
        if self.counting is None:
            return self.search
        from detection.tracking.tracker import weakest

        return replace(self.search, confidence=weakest(self.search.confidence))

    def track(self, look: FrameResult, tracker: "Tracker | None") -> None:
        """Give what was found in a video's next frame its ids."""
        if tracker is not None and look.prediction is not None:
            with self.detector.timer.stage("track"):
                tracker.confidence = self.search.confidence
                look.tracked = tracker.update(look.prediction, look.time or 0, (look.width, look.height))
                look.prediction = look.tracked.prediction

    def draw(self, look: FrameResult, tracker: "Tracker | None" = None) -> None:
        """Draw on the picture itself."""
        if look.image is None or look.prediction is None:
            return
        with self.detector.timer.stage("draw"):
            if look.tracked is not None and tracker is not None:
                from detection.tracking.drawing import draw_tracks

                look.image = draw_tracks(look.image, look.tracked, tracker)
                return
            boxes, scores, labels = look.prediction
            names = [self.detector.class_names[label] for label in labels]
            look.image = draw(look.image, boxes, scores, labels, names)

    def tell(self, summary: Summary, look: FrameResult) -> None:
        """Count what was found, and write its line."""
        assert look.prediction is not None
        names = self.detector.class_names
        summary.frames += 1
        summary.counts.update([names[label] for label in look.prediction.labels])
        if look.tracked is not None:
            summary.tracks = look.tracked.counts
        if self.write_line is not None:
            self.write_line(
                to_json_line(
                    summary.item.name,
                    look.index,
                    look.width,
                    look.height,
                    look.prediction,
                    names,
                    time=look.time if summary.item.video else None,
                    track_ids=None if look.tracked is None else look.tracked.ids,
                    counts=None if look.tracked is None else look.tracked.counts,
                )
            )

    def encode(self, writer: VideoWriter | None, look: FrameResult) -> None:
        """Append a frame to its annotated video."""
        if writer is not None and look.image is not None:
            with self.detector.timer.stage("encode"):
                writer.write(look.image, look.time)

    def snapshot(self, look: FrameResult, last: int) -> int:
        """Write an annotated picture of the first frame in each `snapshot_every`; return the number of the last one."""
        if self.snapshot_every is None or self.output is None or look.image is None or look.time is None:
            return last
        number = int(float(look.time) / self.snapshot_every + 1e-6)
        if number > last:
            path = self.output / look.item.target
            write_image(path.with_name(f"{path.stem}-{look.index:06}.jpg"), look.image)
        return number

    def show(self, image: np.ndarray | None, wait: bool = False) -> bool:
        """Show a picture; return whether to go on."""
        return self.window is None or image is None or self.window.show(image, wait=wait)

    def press(self, image: np.ndarray | None) -> list[str]:
        """Do what the keys ask for that were pressed while `image` was shown, but for space; return them all."""
        keys = self.window.keys() if self.window is not None else []
        for key in keys:
            if key == "s" and image is not None:
                name = time.strftime(f"pelee-%Y%m%d-%H%M%S-{time.time_ns() // 1_000_000 % 1000:03}.jpg")
                path = (self.output or Path()) / name
                write_image(path, image)
                self.progress.note(f"saved {path}")
            elif key in ("+", "-"):
                moved = self.search.confidence + (STEP if key == "+" else -STEP)
                self.search = replace(self.search, confidence=min(max(round(moved, 4), 0.01), 0.99))
                self.progress.note(f"threshold {self.search.confidence:.2f}")
        return keys

    def hold(self, image: np.ndarray) -> bool:
        """Show a picture until space is pressed again; return whether to go on."""
        while self.show(image):
            if " " in self.press(image):
                return True
            time.sleep(PAUSE)
        return False

    def problem(self, line: str) -> None:
        """Tell what could not be read, and count it."""
        self.failed += 1
        self.progress.problem(line)
