"""Cameras and streams through the network, all at once: each one's newest frame in turn, and never an older one.

Each source has a thread that keeps its newest frame. A thread here takes them in turn as the network has room, and the
caller's thread draws, writes and shows: what is slow makes fewer pictures, not older ones.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from detection.display.overlay import draw_numbers, marked, side_by_side
from detection.pipeline.frame_task import FrameResult, Summary
from detection.pipeline.inputs import InputSource
from detection.pipeline.pipeline_run import PipelineRun
from detection.pipeline.sinks import SourceInfo, VideoCopies, opened
from detection.pipeline.stages import Stages
from detection.pipeline.view_sink import ViewSink
from detection.video.frames import FALLBACK_RATE
from detection.video.live_source import LiveSource

if TYPE_CHECKING:
    from detection.tracking.tracker import Tracker


TICK = 0.05  # seconds: no longer without a look at the sources, the keys and the marks
MARK = 1.0  # seconds of a lost signal from one marked frame in the annotated video to the next
TIME_BASE = Fraction(1, 1000)


@dataclass(slots=True, eq=False)
class _Stream:
    """One source, and what has become of it.

    begin: when its first frame was taken; image: the last annotated one; shown: that, or as it is marked.
    """

    item: InputSource
    source: LiveSource
    summary: Summary
    begin: float | None = None
    tracker: "Tracker | None" = None
    image: np.ndarray | None = None
    shown: np.ndarray | None = None
    mark: str | None = None
    marked_at: float = 0.0
    told: bool = False


@dataclass(slots=True)
class _Tick:
    """What comes through the stages where there is no frame: what there is to say, and the time to look around."""

    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Arrival:
    """A source's newest frame."""

    result: FrameResult
    stream: _Stream


@dataclass(slots=True)
class _Pending:
    """What is on its way through the network, or past it."""

    arrived: _Tick | _Arrival

    def result(self) -> _Tick | _Arrival:
        """Wait for the network."""
        if isinstance(self.arrived, _Arrival):
            self.arrived.result.result()
        return self.arrived


class LivePipeline:
    """One run over live sources, until the user quits or the last of them has ended."""

    def __init__(self, run: PipelineRun, items: Sequence[InputSource]) -> None:
        """Take what is done with the pictures, and the sources."""
        self._run = run
        self._view = next((sink for sink in run.sinks if isinstance(sink, ViewSink)), None)
        self._videos = [sink for sink in run.sinks if isinstance(sink, VideoCopies)]
        self._items = items
        self._fresh = threading.Event()
        self._streams: list[_Stream] = []
        self._open = ExitStack()
        self._paused: np.ndarray | None = None
        self._image: np.ndarray | None = None  # what is shown
        self._marked = False  # it is not what it should be any more
        self._shown_at = 0.0

    def run(self) -> None:
        """Look, until the end; raises what ends it, once the threads have ended and the files are whole."""
        parallel = self._run.config.detector.runtime.parallel
        # One more than the network works on keeps it busy, and makes every frame older: worth it for several sources.
        depth = parallel if len(self._items) == 1 else parallel + 1
        with ExitStack() as stack:
            for item in self._items:
                source = LiveSource(item.source, retries=self._run.config.retries, wake=self._fresh.set)
                stack.callback(source.close)
                self._streams.append(_Stream(item, source, Summary(item, figures=source.figures)))
                self._run.progress.start(source.name, None)
            stack.enter_context(self._open)
            stages = stack.enter_context(Stages())
            for arrived in stages.ahead(self._newest(), self._start, depth, "newest"):
                if isinstance(arrived, _Tick):
                    for line in arrived.notes:
                        self._run.progress.note(line)
                    go_on = self._show(fresh=False)
                else:
                    go_on = self._finish(arrived.result, arrived.stream)
                self._look_around()
                if not go_on:
                    return

    def _newest(self) -> Iterator[_Tick | _Arrival]:
        """Yield each source's newest frame in turn, or a tick; pulled when the network has room."""
        config = self._run.config
        while True:
            self._fresh.clear()
            ended = all(stream.source.ended for stream in self._streams)
            none = True
            for stream in self._streams:
                notes = stream.source.poll()
                if notes:
                    yield _Tick(notes)
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
                yield _Arrival(result, stream)
            if ended:
                return
            if none:
                yield _Tick()
                self._fresh.wait(TICK)

    def _start(self, arrived: _Tick | _Arrival) -> _Pending:
        """Hand a picture to the network."""
        if isinstance(arrived, _Arrival):
            result = arrived.result
            assert result.image is not None
            result.height, result.width = result.image.shape[:2]
            result.analyzed = True
            result.future = self._run.config.detector.submit([result.image], self._run.options)
        return _Pending(arrived)

    def _finish(self, result: FrameResult, stream: _Stream) -> bool:
        """Draw, tell, show and write a picture that the network has looked at; return whether to go on."""
        run, figures = self._run, stream.source.figures
        if stream.summary.frames == 0:
            self._first(result, stream)
        figures.looked_at.add(time.monotonic())
        run.track(result, stream.tracker)
        if run.needs_images:
            run.draw(result, stream.tracker)
            assert result.image is not None
            line = figures.line()
            if run.config.numbers:
                draw_numbers(result.image, line)
            if self._view is not None:
                self._view.view.tell(line if len(self._streams) == 1 else f"{stream.source.name}: {line}")
            stream.image = stream.shown = result.image
        run.progress.advance()
        run.count(stream.summary, result)
        for sink in run.sinks:
            if sink not in self._videos:
                sink.emit(result)
        go_on = self._show(fresh=True)
        figures.shown(time.monotonic() - result.captured)
        for video in self._videos:  # after the view: encoding makes no shown frame older
            video.emit(result)
        return go_on

    def _first(self, result: FrameResult, stream: _Stream) -> None:
        """Make ready what needs the first frame's size."""
        run = self._run
        run.state.summaries.append(stream.summary)
        rate = stream.source.rate or FALLBACK_RATE
        stream.tracker = run.tracker(rate)
        info = SourceInfo(stream.item, (result.width, result.height), rate, TIME_BASE)
        self._open.enter_context(opened(run.sinks, info))

    def _look_around(self) -> None:
        """Mark the frames of sources that are lost, and tell of those that are given up."""
        now = time.monotonic()
        for stream in self._streams:
            if stream.source.failed is not None and not stream.told:
                stream.told = True
                self._run.state.lost += 1
                self._run.problem(stream.source.failed)
            mark = stream.source.mark()
            if mark == stream.mark or stream.image is None:
                continue
            stream.mark = mark
            self._marked = True
            stream.shown = stream.image if mark is None else marked(stream.image, mark)
            if mark is not None and self._videos and now - stream.marked_at >= MARK:
                stream.marked_at = now
                assert stream.begin is not None
                for video in self._videos:
                    video.mark(stream.item, stream.shown, Fraction(round(1000 * (now - stream.begin)), 1000))

    def _show(self, fresh: bool) -> bool:
        """Show what there is; return whether to go on."""
        view = self._view
        now = time.monotonic()
        if view is None or (not fresh and now - self._shown_at < TICK):
            return True
        shown = [one.shown for one in self._streams]
        if self._paused is None and all(image is None for image in shown):
            return True
        self._shown_at = now
        if self._paused is not None:
            image = self._paused
        elif fresh or self._marked or self._image is None:
            image = self._image = side_by_side(shown)
            self._marked = False
        else:
            image = self._image
        if not view.show(image):
            return False
        if " " in view.press(image):
            self._paused = image if self._paused is None else None
        return True
