"""Pipeline of live sources, all at once: the network gets the latest frame of each in turn, older ones are dropped.

Each source has a thread that keeps its latest frame. A thread here takes them in turn as the network has room, and the
caller's thread draws, writes and shows. A slow stage lowers the frame rate; it never makes the frames older.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from data.errors import ImageError
from detection.display.overlay import draw_signal_loss, draw_status
from detection.pipeline.frame_result import FrameResult, Summary
from detection.pipeline.inputs import InputSource
from detection.pipeline.pipeline_run import PipelineRun
from detection.pipeline.sinks import SourceInfo
from detection.pipeline.stages import Stages
from detection.tiling.schedule import TileSchedule
from detection.tiling.tiled_batch import TiledBatch
from detection.video.frames import FALLBACK_RATE
from detection.video.live_source import LiveSource

if TYPE_CHECKING:
    from detection.tracking.tracker import Tracker


TICK = 0.05  # seconds: longest wait for a frame before sources, keys and lost signals are polled
TIME_BASE = Fraction(1, 1000)


@dataclass(slots=True, eq=False)
class _Stream:
    """Live source of the run, and its state.

    Attributes:
        begin: capture time of its first frame; None before it.
        image: its last annotated image.
        loss: text of its signal loss; None with a signal.
        failure_reported: whether its final failure has been reported.
        refused: a line or zone is outside its frame.
        schedule: chooses the tiles of its frames; None without tiles.
        tracked: (k, 4) xyxy boxes of its tracked objects in pixels.
    """

    item: InputSource
    source: LiveSource
    summary: Summary
    begin: float | None = None
    tracker: "Tracker | None" = None
    image: np.ndarray | None = None
    loss: str | None = None
    failure_reported: bool = False
    refused: bool = False
    schedule: TileSchedule | None = None
    tracked: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))


@dataclass(frozen=True, slots=True)
class _NoFrame:
    """Entry of the stages without a frame: messages of the sources, and an occasion to poll."""

    notes: Sequence[str] = ()

    def result(self) -> "_NoFrame | _LatestFrame":
        return self


@dataclass(frozen=True, slots=True)
class _LatestFrame:
    """Entry of the stages with a source's latest frame."""

    frame: FrameResult
    stream: _Stream

    def result(self) -> "_NoFrame | _LatestFrame":
        """Wait for the network."""
        inference = self.frame.future
        self.frame.result()
        if self.stream.schedule is not None and isinstance(inference, TiledBatch):
            self.stream.schedule.record(inference.views, inference.seconds)
        return self


class LivePipeline:
    """One run over live sources, until the user quits or the last of them has ended."""

    def __init__(self, run: PipelineRun, items: Sequence[InputSource]) -> None:
        """Take the run, and its live sources."""
        self._run = run
        self._items = items
        self._frame_arrived = threading.Event()
        self._streams: list[_Stream] = []
        self._open = ExitStack()

    def run(self) -> None:
        """Process all sources; raises the error that ends the run, once threads have ended and files are complete."""
        run = self._run
        parallel = run.config.detector.runtime.parallel
        # One more than the network works on keeps it busy, and makes every frame older: worth it for several sources.
        depth = parallel if len(self._items) == 1 else parallel + 1
        with ExitStack() as stack:
            for item in self._items:
                source = LiveSource(item.source, retries=run.config.retries, wake=self._frame_arrived.set)
                stack.callback(source.close)
                stream = _Stream(item, source, Summary(item, stream_stats=source.figures))
                if run.config.tiling is not None:
                    stream.schedule = TileSchedule(run.config.tiling, run.config.detector.input_size)
                self._streams.append(stream)
                run.progress.start(source.name, None)
            stack.enter_context(self._open)
            stages = stack.enter_context(Stages())
            for entry in stages.ahead(self._latest_frames(), self._submit, depth, "latest frames"):
                if isinstance(entry, _LatestFrame):
                    self._finish(entry.frame, entry.stream)
                else:
                    for line in entry.notes:
                        run.progress.note(line)
                if not run.state.quit:
                    self._update_signals()
                    for sink in run.sinks:
                        sink.idle()
                if run.state.quit:
                    return

    def _latest_frames(self) -> Iterator[_NoFrame | _LatestFrame]:
        """Yield each source's latest frame in turn, or an entry without one; pulled when the network has room."""
        config = self._run.config
        while True:
            self._frame_arrived.clear()
            ended = all(stream.source.ended for stream in self._streams)
            none = True
            for stream in self._streams:
                notes = stream.source.poll()
                if notes:
                    yield _NoFrame(notes)
                frame = stream.source.newest(config.every)
                if frame is None:
                    continue
                none = False
                if stream.begin is None:
                    stream.begin = frame.captured
                with config.detector.timer.stage("decode"):
                    image = frame.to_rgb()
                moment = Fraction(max(0, round(1000 * (frame.captured - stream.begin))), 1000)
                result = FrameResult(stream.item, index=frame.number, time=moment, image=image, captured=frame.captured)
                yield _LatestFrame(result, stream)
            if ended:
                return
            if none:
                yield _NoFrame()
                self._frame_arrived.wait(TICK)

    def _submit(self, entry: _NoFrame | _LatestFrame) -> _NoFrame | _LatestFrame:
        """Start the inference of a frame."""
        if isinstance(entry, _LatestFrame):
            result = entry.frame
            assert result.image is not None
            result.height, result.width = result.image.shape[:2]
            result.analyzed = True
            tiles = self._tiles(result, entry.stream)
            result.future = self._run.config.detector.submit([result.image], self._run.options, tiles)
        return entry

    def _tiles(self, result: FrameResult, stream: _Stream) -> list[np.ndarray] | None:
        """Tiles of a frame: as many as the time until the next frame leaves room for, which all sources share."""
        if stream.schedule is None:
            return None
        stats = stream.source.figures
        rate = stats.captured.recent(time.monotonic()) or float(stream.source.rate or FALLBACK_RATE)
        interval = self._run.config.every / rate / len(self._streams)
        tiles = stream.schedule.next_tiles(result.width, result.height, interval, stream.tracked, stats.dropped)
        stats.add_tiles(len(tiles))
        return [tiles]

    def _finish(self, result: FrameResult, stream: _Stream) -> None:
        """Track, draw, count and emit an analyzed frame."""
        run, stats = self._run, stream.source.figures
        if stream.summary.frames == 0:
            self._open_sinks(result, stream)
        if stream.refused:
            return
        stats.looked_at.add(time.monotonic())
        run.track(result, stream.tracker)
        if result.tracked is not None:
            stream.tracked = result.tracked.prediction.boxes
        if run.needs_images:
            run.draw(result, stream.tracker)
            assert result.image is not None
            result.status = stats.line()
            if run.config.numbers:
                draw_status(result.image, result.status)
            stream.image = result.image
        run.progress.advance()
        run.count(stream.summary, result)
        run.emit(result)
        # The sink states the time: encoding of the annotated video does not make a shown frame older.
        stats.shown((result.delivered or time.monotonic()) - result.captured)

    def _open_sinks(self, result: FrameResult, stream: _Stream) -> None:
        """Open the sinks for a source, and its tracker: both need the size of the first frame."""
        run, size = self._run, (result.width, result.height)
        rate = stream.source.rate or FALLBACK_RATE
        try:
            stream.tracker = run.tracker(stream.source.name, rate, size)
        except ImageError as error:
            if not stream.refused:  # once; its other frames may be in the network already
                run.problem(str(error))
            stream.refused = True
            stream.source.close()
            return
        run.state.summaries.append(stream.summary)
        info = SourceInfo(stream.item, size, rate, TIME_BASE)
        self._open.enter_context(run.opened(info))

    def _update_signals(self) -> None:
        """Emit the losses of signals, and report sources that have failed for good."""
        now = time.monotonic()
        for stream in self._streams:
            if stream.source.failed is not None and not stream.failure_reported:
                stream.failure_reported = True
                self._run.state.lost += 1
                self._run.problem(stream.source.failed)
            loss = stream.source.mark()
            if loss == stream.loss or stream.image is None:
                continue
            stream.loss = loss
            if loss is not None:
                assert stream.begin is not None
                image, moment = draw_signal_loss(stream.image, loss), Fraction(round(1000 * (now - stream.begin)), 1000)
                self._run.emit_signal_loss(stream.item, image, moment)
