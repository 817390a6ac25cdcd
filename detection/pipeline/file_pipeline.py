"""From what the command line names to what it leaves: detects, draws, writes, counts, all at the same time.

A thread decodes, preprocesses and hands to the network; the network works on several pictures in threads of its own; a
thread draws, where that is wanted; the caller's thread writes. Between them only so many pictures wait, so that memory
does not grow with the input, and each keeps its place in the order. What does not wait, cameras and streams, goes
through `detection.pipeline.live_pipeline`.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import ImageError
from data.images.image_io import write_image
from data.images.prefetch import prefetch
from detection.detector import DetectionFuture
from detection.pipeline.frame_task import FrameResult, Summary
from detection.pipeline.inputs import InputSource
from detection.pipeline.outputs import Outputs
from detection.pipeline.stages import Done, Stages
from detection.video.frames import VideoSource
from detection.video.source_names import STDIN
from detection.video.stdin_reader import PictureStream
from detection.video.video_file import SMALL, VideoFile
from detection.video.video_writer import video_writer

if TYPE_CHECKING:
    from detection.tracking.tracker import Tracker


READERS = 2  # threads that decode pictures
WAITING = 4  # pictures beyond those that the network works on: one for it to go on with, and what evens out the rest
STAYING = frozenset("s+-")  # keys that do not ask for the next picture
SMOOTH = 0.03  # seconds: no longer wait in a window without a look at its keys


@dataclass(slots=True)
class Pipeline(Outputs):
    """The way of pictures and videos; its settings are those of `Outputs`."""

    def run(self, items: Sequence[InputSource]) -> None:
        """Look at every item until the user quits; one that cannot be read is told and passed over.

        Pictures come first, then videos one after the other, then all live sources at once.

        Raises what ends the whole run, once all threads are gone: errors of the file system while writing,
        `KeyboardInterrupt`, a bug. What was written before is whole.
        """
        begin = time.perf_counter()
        try:
            self._run(items)
        finally:
            self.seconds += time.perf_counter() - begin

    def _run(self, items: Sequence[InputSource]) -> None:
        pictures = [item for item in items if not item.video]  # these share one bar, each video has its own
        if pictures:
            self.progress.start("pictures", len(pictures))
            if not self._pictures(pictures):
                return
        live = [item for item in items if item.live]
        for item in items:
            if item.video and not item.live:
                try:
                    if not (self._stdin(item) if item.source == STDIN else self._video(item)):
                        return
                except ImageError as error:  # it does not open
                    self.problem(str(error))
        if live:
            from detection.pipeline.live_pipeline import LivePipeline

            LivePipeline(self, live).run()

    def _pictures(self, items: Sequence[InputSource]) -> bool:
        """Return whether to go on."""
        with Stages() as stages:
            for look in self._looks(stages, self._read(items)):
                self.progress.advance()
                if look.problem is not None:
                    self.problem(look.problem)
                    continue
                summary = Summary(look.item)
                self.summaries.append(summary)
                self._copy(look, look.item.target)
                self.tell(summary, look)
                if not self._leaf(look):
                    return False
        return True

    def _copy(self, look: FrameResult, name: str | Path) -> None:
        """Write a picture's annotated copy, before its line is told: who reads the line may open the copy."""
        if self.output is not None and look.image is not None:
            with self.detector.timer.stage("encode"):
                write_image(self.output / name, look.image)

    def _leaf(self, look: FrameResult) -> bool:
        """Show a picture until a key asks for the next one; return whether to go on."""
        while self.show(look.image, wait=True):
            if not STAYING.intersection(self.press(look.image)):
                return True
        return False

    def _stdin(self, item: InputSource) -> bool:
        """Pictures on stdin, each told before the next must come; return whether to go on."""
        self.progress.start("stdin", None)
        summary = Summary(item)
        self.summaries.append(summary)
        pictures = PictureStream()
        with Stages() as stages, closing(pictures):
            for look in self._looks(stages, self._piped(item, pictures)):
                if look.problem is not None:
                    self.problem(look.problem)
                    continue
                self._copy(look, f"stdin-{look.index:06}.jpg")
                self.tell(summary, look)
                self.progress.advance()
                if not self.show(look.image):
                    return False
                self.press(look.image)
        return True

    def _video(self, item: InputSource) -> bool:
        """Return whether to go on; a video that fails on its way keeps what came before."""
        with VideoFile(item.source) as source:
            if not self.wanted and hasattr(source, "every"):
                source.every = self.every
            self.progress.start(source.name, source.frames)
            summary = Summary(item)
            self.summaries.append(summary)
            tracker = self.tracker(source.rate)
            opened = (
                nullcontext(None)
                if self.output is None
                else video_writer(self.output / item.target, source.size, source.rate, source.time_base)
            )
            last = -1
            begin = time.monotonic()
            # Larger frames cost more to decode than to look at, and a group of them much memory.
            small = self.every == 1 and source.size[0] * source.size[1] <= SMALL
            group = self.detector.runtime.batch if small else 1
            with opened as writer, Stages() as stages:
                for look in self._looks(stages, self._frames(item, source), tracker, group):
                    if look.problem is not None:
                        self.problem(look.problem)
                        continue
                    if look.index % self.every == 0:
                        self.tell(summary, look)
                    self.encode(writer, look)
                    last = self.snapshot(look, last)
                    self.progress.advance()
                    if self.window is not None:
                        if not self._play(look, begin):
                            return False
                        begin = max(begin, time.monotonic() - float(look.time or 0))  # a pause, or a slow machine
        return True

    def _play(self, look: FrameResult, begin: float) -> bool:
        """Show a frame until its time has passed, as a player does; return whether to go on."""
        assert look.image is not None
        while self.show(look.image):
            if " " in self.press(look.image):
                return self.hold(look.image)
            rest = begin + float(look.time or 0) - time.monotonic()
            if rest <= 0:
                return True
            time.sleep(min(rest, SMOOTH))
        return False

    def _looks(
        self, stages: Stages, pictures: Generator[FrameResult], tracker: "Tracker | None" = None, group: int = 1
    ) -> Iterator[FrameResult]:
        """Yield the pictures with what was found in them; with that drawn on them, where they are wanted.

        `group` of them go through the network together.
        """
        depth = self.detector.runtime.parallel + max(1, WAITING // group)
        found = chain.from_iterable(stages.ahead(_grouped(pictures, group), self._start, depth, "decode"))
        if not self.wanted and tracker is None:
            return found
        return stages.ahead(found, self._drawer(tracker), WAITING, "draw")

    def _drawer(self, tracker: "Tracker | None") -> Callable[[FrameResult], Done[FrameResult]]:
        """What draws in the order of the frames: on those that were not looked at, what the last one had."""
        last: FrameResult | None = None

        def finish(look: FrameResult) -> Done[FrameResult]:
            nonlocal last
            if look.prediction is not None:
                self.track(look, tracker)
                last = replace(look, image=None)
            elif last is not None and look.problem is None:
                look.prediction, look.tracked = last.prediction, last.tracked
            self.draw(look, tracker)
            return Done(look)

        return finish

    def _read(self, items: Sequence[InputSource]) -> Generator[FrameResult]:
        """Yield pictures, read ahead."""
        images = prefetch(items, lambda item: self.detector.read(item.source), workers=READERS, ahead=WAITING)
        with closing(images):  # type: ignore[type-var]
            for item, image in images:
                yield FrameResult(item, str(image)) if isinstance(image, ImageError) else FrameResult(item, image=image)

    def _piped(self, item: InputSource, pictures: PictureStream) -> Generator[FrameResult]:
        """Yield what comes on stdin; a failure that ends it is the last."""
        try:
            for frame in pictures:
                if isinstance(frame, ImageError):
                    yield FrameResult(item, str(frame))
                elif frame.index % self.every == 0:
                    yield FrameResult(item, index=frame.index, time=frame.time, image=frame.image)
        except ImageError as error:
            yield FrameResult(item, str(error))

    def _frames(self, item: InputSource, source: VideoSource) -> Generator[FrameResult]:
        """Yield a video's frames, timed; a failure on the way is the last."""
        frames = iter(source)
        while True:
            try:
                with self.detector.timer.stage("decode"):
                    frame = next(frames, None)
            except ImageError as error:
                yield FrameResult(item, str(error))
                return
            if frame is None:
                return
            yield FrameResult(item, index=frame.index, time=frame.time, image=frame.image)

    def _start(self, looks: list[FrameResult]) -> "_Group":
        """Hand pictures to the network, but for those between the ones that are looked at."""
        wanted = []
        for look in looks:
            if look.image is not None:
                look.height, look.width = look.image.shape[:2]
                if look.index % self.every == 0:
                    wanted.append(look)
        images = [look.image for look in wanted if look.image is not None]
        group = _Group(looks, wanted, self.detector.submit(images, self.looking) if images else None)
        if not self.wanted:
            for look in wanted:
                look.image = None
        return group


@dataclass(slots=True)
class _Group:
    """Pictures that go through the network together, and those between them."""

    looks: list[FrameResult]
    wanted: list[FrameResult]
    future: DetectionFuture | None

    def result(self) -> list[FrameResult]:
        """Wait for the network."""
        if self.future is not None:
            for look, prediction in zip(self.wanted, self.future.result(), strict=True):
                look.prediction = prediction
        return self.looks


def _grouped(looks: Generator[FrameResult], size: int) -> Generator[list[FrameResult]]:
    """Yield them in groups of `size`, the last of which may be smaller."""
    with closing(looks):
        while group := list(islice(looks, size)):
            yield group


def prepare_output(output: Path) -> None:
    """Make the output folder, and know before the work that it can be written to; `OSError` where it cannot."""
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK):
        raise PermissionError(13, "the output folder cannot be written to", str(output))
