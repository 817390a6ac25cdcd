"""From what the command line names to what it leaves: detects, draws, writes, counts."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from data.errors import ImageError
from data.images import write_image
from detection.annotate import annotate
from detection.detector import Detector
from detection.inputs import Item
from detection.postprocess import Prediction
from detection.results import to_detections, to_json_line
from detection.video.sinks import video_writer
from detection.video.sources import Frame, VideoSource, open_source
from detection.video.window import Window


@dataclass(slots=True)
class Summary:
    """What an item came to: how many pictures or frames were read, and how often each class was found in them."""

    item: Item
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class Progress(Protocol):
    """What is told while it runs."""

    def start(self, name: str, total: int | None) -> None:
        """Begin with `total` pictures or frames; None where their number is not known."""

    def advance(self) -> None:
        """One picture or frame further."""

    def problem(self, line: str) -> None:
        """Something could not be read."""


@dataclass(slots=True)
class Pipeline:
    """What is done with every picture.

    Attributes:
        detector: finds.
        confidence, iou, max_detections, classes: as `Detector.__call__` takes them.
        output: folder of annotated copies; None for none.
        write_line: takes each line of JSON; None for none.
        window: shows each annotated picture; None for none.
        progress: is told.
        summaries: grows by one for each item that could be read, at least in part.
        failed: how many items could not be read, or not to their end.
    """

    detector: Detector
    confidence: float
    iou: float
    max_detections: int
    classes: Sequence[str] | None
    output: Path | None
    write_line: Callable[[str], None] | None
    window: Window | None
    progress: Progress
    summaries: list[Summary] = field(default_factory=list)
    failed: int = 0

    def run(self, items: Sequence[Item]) -> None:
        """Look at every item until the user quits; one that cannot be read is told and passed over.

        Raises what ends the whole run: errors of the file system while writing, `KeyboardInterrupt`.
        """
        pictures = sum(not item.video for item in items)
        if pictures:
            self.progress.start("pictures", pictures)
        for item in sorted(items, key=lambda item: item.video):  # pictures share one bar, each video has its own
            try:
                on = self._video(item) if item.video else self._picture(item)
            except ImageError as error:
                self.problem(str(error))
                on = True
            if not on:
                break

    def problem(self, line: str) -> None:
        """Tell what could not be read, and count it."""
        self.failed += 1
        self.progress.problem(line)

    def _picture(self, item: Item) -> bool:
        """Return whether to go on."""
        self.progress.advance()
        image = self.detector.read(item.source)
        summary = Summary(item)
        self.summaries.append(summary)
        drawn = self._look(summary, image, 0)
        if drawn is None:
            return True
        if self.output is not None:
            with self.detector.timer.stage("encode"):
                write_image(self.output / item.target, drawn)
        return self.window is None or self.window.show(drawn, wait=True)

    def _video(self, item: Item) -> bool:
        """Return whether to go on; a video that fails on its way keeps what came before."""
        with open_source(item.source) as source:
            self.progress.start(source.name, source.frames)
            summary = Summary(item)
            self.summaries.append(summary)
            opened = (
                nullcontext(None)
                if self.output is None
                else video_writer(self.output / item.target, source.size, source.rate, source.time_base)
            )
            with opened as writer:
                for frame in self._frames(source):
                    drawn = self._look(summary, frame.image, frame.index)
                    self.progress.advance()
                    if drawn is None:
                        continue
                    if writer is not None:
                        with self.detector.timer.stage("encode"):
                            writer.write(drawn, frame.time)
                    if self.window is not None and not self.window.show(drawn, wait=False):
                        return False
        return True

    def _frames(self, source: VideoSource) -> Iterator[Frame]:
        """Yield a video's frames, timed; a failure on the way is told, and is the end."""
        frames = iter(source)
        while True:
            try:
                with self.detector.timer.stage("decode"):
                    frame = next(frames, None)
            except ImageError as error:
                self.problem(str(error))
                return
            if frame is None:
                return
            yield frame

    def _look(self, summary: Summary, image: np.ndarray, frame: int) -> np.ndarray | None:
        """Detect, count, write the line; return the annotated picture if anyone wants it."""
        (prediction,) = self.detector.predict_batch(
            [image], self.confidence, self.iou, self.max_detections, self.classes
        )
        names = self.detector.class_names
        summary.frames += 1
        summary.counts.update(names[label] for label in prediction.labels)
        if self.write_line is not None:
            height, width = image.shape[:2]
            self.write_line(to_json_line(summary.item.name, frame, width, height, prediction, names))
        if self.output is None and self.window is None:
            return None
        return self._draw(image, prediction)

    def _draw(self, image: np.ndarray, prediction: Prediction) -> np.ndarray:
        detections = to_detections(prediction, self.detector.class_names)
        with self.detector.timer.stage("draw"):
            return annotate(image, detections)


def prepare_output(output: Path) -> None:
    """Make the output folder, and know before the work that it can be written to; `OSError` where it cannot."""
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK):
        raise PermissionError(13, "the output folder cannot be written to", str(output))
