"""Pipeline of images and video files: decoding, inference, drawing and writing overlap.

One thread decodes, preprocesses and submits to the network; the network works on several images in threads of its own;
one thread draws, if a sink needs images; the caller's thread writes. The number of images between the stages is
bounded, so memory does not grow with the input, and results keep the order of the input. Cameras and streams go through
`detection.pipeline.live_pipeline`.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from data.errors import ImageError, SettingsError
from data.images.image_io import read_image
from data.images.prefetch import prefetch
from data.standard_streams import was_closed
from detection.detector import DetectionFuture
from detection.pipeline.frame_result import FrameResult, Summary
from detection.pipeline.inputs import InputSource
from detection.pipeline.pipeline_run import PipelineRun
from detection.pipeline.run_config import RunConfig, RunState
from detection.pipeline.run_progress import Progress
from detection.pipeline.sinks import Sink, SourceInfo
from detection.pipeline.stages import Done, Stages
from detection.tiling.tiled_batch import TiledBatch
from detection.video.frames import VideoSource
from detection.video.open_source import open_video
from detection.video.source_names import STDIN
from detection.video.stdin_reader import ImageStream
from detection.video.video_file import SMALL

if TYPE_CHECKING:
    from detection.tracking.tracker import Tracker


READERS = 2  # threads that decode images
WAITING = 4  # images queued between two stages, beyond those in the network: they even out the stages' speeds


class Pipeline:
    """Pipeline of images and video files; live sources go through `LivePipeline`."""

    def __init__(self, config: RunConfig, state: RunState, sinks: Sequence[Sink], progress: Progress) -> None:
        """Take the settings, the state (its `options` are those of the detector), the sinks, and the progress."""
        self.config, self.state = config, state
        self._run = PipelineRun(config, state, sinks, progress)

    def run(self, items: Sequence[InputSource]) -> None:
        """Process every input until the user quits; one that cannot be read is reported and skipped.

        Images come first, then videos one after the other, then all live sources at once.

        Raises the error that ends the whole run (a full disk, `KeyboardInterrupt`, a bug), once all threads have ended.
        Files written before are complete.
        """
        begin = time.perf_counter()
        try:
            self._process(items)
        finally:
            self.state.seconds += time.perf_counter() - begin

    def _process(self, items: Sequence[InputSource]) -> None:
        images = [item for item in items if not item.video]  # these share one bar, each video has its own
        if images:
            self._run.progress.start("images", len(images))
            if not self._images(images):
                return
        live = [item for item in items if item.live]
        for item in items:
            if item.video and not item.live:
                try:
                    if not (self._stdin(item) if item.source == STDIN else self._video(item)):
                        return
                except ImageError as error:  # it does not open, or a line is outside its frame
                    self._run.problem(str(error))
        if live:
            from detection.pipeline.live_pipeline import LivePipeline

            LivePipeline(self._run, live).run()

    def _images(self, items: Sequence[InputSource]) -> bool:
        """Return whether to go on."""
        run = self._run
        with Stages() as stages:
            for result in self._results(stages, self._read(items)):
                run.progress.advance()
                if result.problem is not None:
                    run.problem(result.problem)
                    continue
                summary = self._summary(result.item)
                with run.opened(SourceInfo(result.item, (result.width, result.height))):
                    run.count(summary, result)
                    if not run.emit(result):
                        return False
        return True

    def _stdin(self, item: InputSource) -> bool:
        """Process images on stdin, each emitted before the next one is needed; return whether to go on."""
        if was_closed("stdin"):
            raise ImageError("-: stdin is closed")
        self._run.progress.start("stdin", None)
        summary = self._summary(item)
        images = ImageStream(on_damage=self._run.progress.note)
        with self._run.opened(SourceInfo(item)), Stages() as stages, closing(images):
            return self._emit_all(self._results(stages, self._piped(item, images)), summary)

    def _video(self, item: InputSource) -> bool:
        """Process a video file; if reading fails, earlier results are kept. Return whether to go on."""
        run = self._run
        with open_video(item.source) as source:
            if not run.needs_images:
                source.every = self.config.every
            run.progress.start(source.name, source.frames)
            tracker = run.tracker(source.name, source.rate, source.size)
            summary = self._summary(item)
            # Larger frames cost more to decode than to analyze, and a group of them much memory.
            small = self.config.every == 1 and source.size[0] * source.size[1] <= SMALL
            group = self.config.detector.runtime.batch if small else 1
            info = SourceInfo(item, source.size, source.rate, source.time_base, source.sound)
            with run.opened(info), Stages() as stages:
                return self._emit_all(self._results(stages, self._frames(item, source), tracker, group), summary)

    def _emit_all(self, results: Iterator[FrameResult], summary: Summary) -> bool:
        """Count and emit the results of one source; return whether to go on."""
        for result in results:
            if result.problem is not None:
                self._run.problem(result.problem)
                continue
            self._run.progress.advance()
            self._run.count(summary, result)
            if not self._run.emit(result):
                return False
        return True

    def _summary(self, item: InputSource) -> Summary:
        summary = Summary(item)
        self.state.summaries.append(summary)
        return summary

    def _results(
        self, stages: Stages, frames: Generator[FrameResult], tracker: "Tracker | None" = None, group: int = 1
    ) -> Iterator[FrameResult]:
        """Yield results in order, drawn if a sink needs images; `group` of them go through the network as a batch."""
        depth = self.config.detector.runtime.parallel + max(1, WAITING // group)
        analyzed = chain.from_iterable(stages.ahead(_grouped(frames, group), self._start, depth, "decode"))
        if not self._run.needs_images and tracker is None:
            return analyzed
        return stages.ahead(analyzed, self._drawer(tracker), WAITING, "draw")

    def _drawer(self, tracker: "Tracker | None") -> Callable[[FrameResult], Done[FrameResult]]:
        """Function that tracks and draws in frame order; a frame not analyzed has the last one's detections."""
        last: FrameResult | None = None

        def finish(result: FrameResult) -> Done[FrameResult]:
            nonlocal last
            if result.prediction is not None:
                self._run.track(result, tracker)
                last = replace(result, image=None)
            elif last is not None and result.problem is None:
                result.prediction, result.tracked = last.prediction, last.tracked
            self._run.draw(result, tracker)
            return Done(result)

        return finish

    def _read_image(self, path: str) -> np.ndarray:
        """Read an image; one that is cut off is used as far as it goes, with a note."""
        with self.config.detector.timer.stage("decode"):
            return read_image(path, on_damage=self._run.progress.note)

    def _read(self, items: Sequence[InputSource]) -> Generator[FrameResult]:
        """Yield images, read ahead by threads."""
        images = prefetch(items, lambda item: self._read_image(item.source), workers=READERS, ahead=WAITING)
        with closing(images):  # type: ignore[type-var]
            for item, image in images:
                yield FrameResult(item, str(image)) if isinstance(image, ImageError) else FrameResult(item, image=image)

    def _piped(self, item: InputSource, images: ImageStream) -> Generator[FrameResult]:
        """Yield the images on stdin; a failure that ends the stream is the last result."""
        try:
            for frame in images:
                if isinstance(frame, ImageError):
                    yield FrameResult(item, str(frame))
                elif frame.index % self.config.every == 0:
                    yield FrameResult(item, index=frame.index, time=frame.time, image=frame.image)
        except ImageError as error:
            yield FrameResult(item, str(error))

    def _frames(self, item: InputSource, source: VideoSource) -> Generator[FrameResult]:
        """Yield a video's frames, with decoding timed; a failure of reading is the last result."""
        frames = iter(source)
        while True:
            try:
                with self.config.detector.timer.stage("decode"):
                    frame = next(frames, None)
            except ImageError as error:
                yield FrameResult(item, str(error))
                return
            if frame is None:
                return
            yield FrameResult(item, index=frame.index, time=frame.time, image=frame.image)

    def _start(self, results: list[FrameResult]) -> "_Group":
        """Submit a group to the network, except the frames that `--every` skips."""
        analyzed: list[FrameResult] = []
        tiles: list[np.ndarray] = []
        for result in results:
            if result.image is not None:
                result.height, result.width = result.image.shape[:2]
                if result.index % self.config.every == 0 and self._tile(result, tiles):
                    result.analyzed = True
                    analyzed.append(result)
        images = [result.image for result in analyzed if result.image is not None]
        future = self.config.detector.submit(images, self._run.options, tiles or None) if images else None
        group = _Group(results, analyzed, future)
        if not self._run.needs_images:
            for result in analyzed:
                result.image = None
        return group

    def _tile(self, result: FrameResult, tiles: list[np.ndarray]) -> bool:
        """Append the tiles of an image where there are any; one too small for the grid becomes a problem: False."""
        if self.config.tiling is not None:
            try:
                tiles.append(self.config.tiling.tiles(result.width, result.height, self.config.detector.input_size))
            except SettingsError as error:
                result.problem, result.image = f"{result.item.source}: {error}", None
                return False
        return True


@dataclass(slots=True)
class _Group:
    """Frames that go through the network as a batch, and the skipped ones between them."""

    results: list[FrameResult]
    analyzed: list[FrameResult]
    future: DetectionFuture | TiledBatch | None

    def result(self) -> list[FrameResult]:
        """Wait for the network."""
        if self.future is not None:
            for result, prediction in zip(self.analyzed, self.future.result(), strict=True):
                result.prediction = prediction
        return self.results


def _grouped(results: Generator[FrameResult], size: int) -> Generator[list[FrameResult]]:
    """Yield results in groups of `size`, the last of which may be smaller."""
    with closing(results):
        while group := list(islice(results, size)):
            yield group
