"""From what the command line names to what it leaves: detects, draws, writes, counts, all at the same time.

A thread decodes, preprocesses and hands to the network; the network works on several pictures in threads of its own; a
thread draws, where that is wanted; the caller's thread writes. Between them only so many pictures wait, so that memory
does not grow with the input, and each keeps its place in the order.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from data.errors import ImageError
from data.images import write_image
from data.reading import read_ahead
from detection.annotate import draw
from detection.detector import Detecting, Detector, Search
from detection.inputs import Item
from detection.postprocess import Prediction
from detection.results import to_json_line
from detection.stages import Done, Stages
from detection.video.sinks import VideoWriter, video_writer
from detection.video.sources import VideoSource, open_source
from detection.video.window import Window

READERS = 2  # threads that decode pictures
WAITING = 4  # pictures beyond those that the network works on: one for it to go on with, and what evens out the rest


@dataclass(slots=True)
class Summary:
    """What an item came to: how many pictures or frames were read, and how often each class was found in them."""

    item: Item
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class Progress(Protocol):
    """What is told while it runs, in the caller's thread."""

    def start(self, name: str, total: int | None) -> None:
        """Begin with `total` pictures or frames; None where their number is not known."""

    def advance(self) -> None:
        """One picture or frame further."""

    def problem(self, line: str) -> None:
        """Something could not be read."""


@dataclass(slots=True)
class _Look:
    """A picture on its way: what it is, the network's work on it, and what that found.

    problem: why it could not be read; there is no more to it then.
    """

    item: Item
    problem: str | None = None
    index: int = 0
    time: Fraction | None = None
    image: np.ndarray | None = None
    width: int = 0
    height: int = 0
    detecting: Detecting | None = None
    prediction: Prediction | None = None

    def result(self) -> Self:
        """Wait for the network."""
        if self.detecting is not None:
            (self.prediction,) = self.detecting.result()
            self.detecting = None
        return self


@dataclass(slots=True)
class Pipeline:
    """What is done with every picture.

    Attributes:
        detector: finds.
        search: what is looked for.
        output: folder of annotated copies; None for none.
        write_line: takes each line of JSON; None for none.
        window: shows each annotated picture; None for none.
        progress: is told.
        summaries: grows by one for each item that could be read, at least in part.
        failed: how many items could not be read, or not to their end.
        seconds: how long `run` has taken.
    """

    detector: Detector
    search: Search
    output: Path | None
    write_line: Callable[[str], None] | None
    window: Window | None
    progress: Progress
    summaries: list[Summary] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0

    def run(self, items: Sequence[Item]) -> None:
        """Look at every item until the user quits; one that cannot be read is told and passed over.

        Raises what ends the whole run, once all threads are gone: errors of the file system while writing,
        `KeyboardInterrupt`, a bug. What was written before is whole.
        """
        begin = time.perf_counter()
        try:
            self._run(items)
        finally:
            self.seconds += time.perf_counter() - begin

    def _run(self, items: Sequence[Item]) -> None:
        pictures = [item for item in items if not item.video]  # these share one bar, each video has its own
        if pictures:
            self.progress.start("pictures", len(pictures))
            if not self._pictures(pictures):
                return
        for item in items:
            if item.video:
                try:
                    if not self._video(item):
                        return
                except ImageError as error:  # it does not open
                    self._problem(str(error))

    def _pictures(self, items: Sequence[Item]) -> bool:
        """Return whether to go on."""
        with Stages() as stages:
            for look in self._looks(stages, self._read(items)):
                self.progress.advance()
                if look.problem is not None:
                    self._problem(look.problem)
                    continue
                summary = Summary(look.item)
                self.summaries.append(summary)
                self._tell(summary, look)
                if self.output is not None and look.image is not None:
                    with self.detector.timer.stage("encode"):
                        write_image(self.output / look.item.target, look.image)
                if not self._show(look, wait=True):
                    return False
        return True

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
            with opened as writer, Stages() as stages:
                for look in self._looks(stages, self._frames(item, source)):
                    if look.problem is not None:
                        self._problem(look.problem)
                        continue
                    self._tell(summary, look)
                    self._encode(writer, look)
                    self.progress.advance()
                    if not self._show(look, wait=False):
                        return False
        return True

    def _looks(self, stages: Stages, pictures: Iterator[_Look]) -> Iterator[_Look]:
        """Yield the pictures with what was found in them; with that drawn on them, where they are wanted."""
        found = stages.ahead(pictures, self._start, self.detector.runtime.parallel + WAITING, "decode")
        if not self._wanted:
            return found
        return stages.ahead(found, lambda look: Done(self._draw(look)), WAITING, "draw")

    @property
    def _wanted(self) -> bool:
        """Whether anyone wants the pictures themselves."""
        return self.output is not None or self.window is not None

    def _read(self, items: Sequence[Item]) -> Iterator[_Look]:
        """Yield pictures, read ahead."""
        images = read_ahead(items, lambda item: self.detector.read(item.source), workers=READERS, ahead=WAITING)
        with closing(images):  # type: ignore[type-var]
            for item, image in images:
                yield _Look(item, str(image)) if isinstance(image, ImageError) else _Look(item, image=image)

    def _frames(self, item: Item, source: VideoSource) -> Iterator[_Look]:
        """Yield a video's frames, timed; a failure on the way is the last."""
        frames = iter(source)
        while True:
            try:
                with self.detector.timer.stage("decode"):
                    frame = next(frames, None)
            except ImageError as error:
                yield _Look(item, str(error))
                return
            if frame is None:
                return
            yield _Look(item, index=frame.index, time=frame.time, image=frame.image)

    def _start(self, look: _Look) -> _Look:
        """Hand a picture to the network."""
        if look.image is not None:
            look.height, look.width = look.image.shape[:2]
            look.detecting = self.detector.submit([look.image], self.search)
            if not self._wanted:
                look.image = None
        return look

    def _draw(self, look: _Look) -> _Look:
        if look.image is not None and look.prediction is not None:
            boxes, scores, labels = look.prediction
            names = [self.detector.class_names[label] for label in labels]
            with self.detector.timer.stage("draw"):
                look.image = draw(look.image, boxes, scores, labels, names)
        return look

    def _tell(self, summary: Summary, look: _Look) -> None:
        """Count what was found, and write its line."""
        assert look.prediction is not None
        names = self.detector.class_names
        summary.frames += 1
        summary.counts.update([names[label] for label in look.prediction.labels])
        if self.write_line is not None:
            name = summary.item.name
            self.write_line(to_json_line(name, look.index, look.width, look.height, look.prediction, names))

    def _encode(self, writer: VideoWriter | None, look: _Look) -> None:
        if writer is not None and look.image is not None:
            with self.detector.timer.stage("encode"):
                writer.write(look.image, look.time)

    def _show(self, look: _Look, wait: bool) -> bool:
        """Return whether to go on."""
        return self.window is None or look.image is None or self.window.show(look.image, wait=wait)

    def _problem(self, line: str) -> None:
        """Tell what could not be read, and count it."""
        self.failed += 1
        self.progress.problem(line)


def prepare_output(output: Path) -> None:
    """Make the output folder, and know before the work that it can be written to; `OSError` where it cannot."""
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK):
        raise PermissionError(13, "the output folder cannot be written to", str(output))
