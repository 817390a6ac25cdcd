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
from detection.pipeline.outputs import Outputs
from detection.pipeline.stages import Stages
from detection.video.frames import FALLBACK_RATE
from detection.video.live_source import LiveSource
from detection.video.video_writer import VideoWriter, video_writer

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
    writer: VideoWriter | None = None
    image: np.ndarray | None = None
    shown: np.ndarray | None = None
    mark: str | None = None
    marked_at: float = 0.0
    snapshot: int = -1
    told: bool = False


@dataclass(slots=True)
class _Tick:
    """What comes through the stages where there is no frame: what there is to say, and the time to look around."""

    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Arrival:
    """A source's newest frame."""

    look: FrameResult
    stream: _Stream


@dataclass(slots=True)
class _Pending:
    """What is on its way through the network, or past it."""

    arrived: _Tick | _Arrival

    def result(self) -> _Tick | _Arrival:
        """Wait for the network."""
        if isinstance(self.arrived, _Arrival):
            self.arrived.look.result()
        return self.arrived


class LivePipeline:
    """One run over live sources, until the user quits or the last of them has ended."""

    def __init__(self, outputs: Outputs, items: Sequence[InputSource]) -> None:
        """Take what is done with the pictures, and the sources."""
        self._outputs = outputs
        self._items = items
        self._fresh = threading.Event()
        self._streams: list[_Stream] = []
        self._writers = ExitStack()
        self._paused: np.ndarray | None = None
        self._image: np.ndarray | None = None  # what is shown
        self._marked = False  # it is not what it should be any more
        self._shown_at = 0.0

    def run(self) -> None:
        """Look, until the end; raises what ends it, once the threads have ended and the files are whole."""
        parallel = self._outputs.detector.runtime.parallel
        # One more than the network works on keeps it busy, and makes every frame older: worth it for several sources.
        depth = parallel if len(self._items) == 1 else parallel + 1
        with ExitStack() as stack:
            for item in self._items:
                source = LiveSource(item.source, retries=self._outputs.retries, wake=self._fresh.set)
                stack.callback(source.close)
                self._streams.append(_Stream(item, source, Summary(item, figures=source.figures)))
                self._outputs.progress.start(source.name, None)
            stack.enter_context(self._writers)
            stages = stack.enter_context(Stages())
            for arrived in stages.ahead(self._newest(), self._start, depth, "newest"):
                if isinstance(arrived, _Tick):
                    for line in arrived.notes:
                        self._outputs.progress.note(line)
                    go_on = self._show(fresh=False)
                else:
                    go_on = self._finish(arrived.look, arrived.stream)
                self._look_around()
                if not go_on:
                    return

    def _newest(self) -> Iterator[_Tick | _Arrival]:
        """Yield each source's newest frame in turn, or a tick; pulled when the network has room."""
        outputs = self._outputs
        while True:
            self._fresh.clear()
            ended = all(stream.source.ended for stream in self._streams)
            none = True
            for stream in self._streams:
                notes = stream.source.poll()
                if notes:
                    yield _Tick(notes)
                frame = stream.source.newest(outputs.every)
                if frame is None:
                    continue
                none = False
                if stream.begin is None:
                    stream.begin = frame.captured
                with outputs.detector.timer.stage("decode"):
                    image = frame.picture()
                moment = Fraction(max(0, round(1000 * (frame.captured - stream.begin))), 1000)
                look = FrameResult(stream.item, index=frame.number, time=moment, image=image, captured=frame.captured)
                yield _Arrival(look, stream)
            if ended:
                return
            if none:
                yield _Tick()
                self._fresh.wait(TICK)

    def _start(self, arrived: _Tick | _Arrival) -> _Pending:
        """Hand a picture to the network."""
        if isinstance(arrived, _Arrival):
            look = arrived.look
            assert look.image is not None
            look.height, look.width = look.image.shape[:2]
            look.future = self._outputs.detector.submit([look.image], self._outputs.looking)
        return _Pending(arrived)

    def _finish(self, look: FrameResult, stream: _Stream) -> bool:
        """Draw, tell, show and write a picture that the network has looked at; return whether to go on."""
        outputs, figures = self._outputs, stream.source.figures
        if stream.summary.frames == 0:
            self._first(look, stream)
        figures.looked_at.add(time.monotonic())
        outputs.track(look, stream.tracker)
        if outputs.wanted:
            outputs.draw(look, stream.tracker)
            assert look.image is not None
            line = figures.line()
            if outputs.numbers:
                draw_numbers(look.image, line)
            if outputs.window is not None:
                outputs.window.tell(line if len(self._streams) == 1 else f"{stream.source.name}: {line}")
            stream.image = stream.shown = look.image
        outputs.tell(stream.summary, look)
        outputs.progress.advance()
        go_on = self._show(fresh=True)
        figures.shown(time.monotonic() - look.captured)
        outputs.encode(stream.writer, look)
        stream.snapshot = outputs.snapshot(look, stream.snapshot)
        return go_on

    def _first(self, look: FrameResult, stream: _Stream) -> None:
        """Make ready what needs the first frame's size."""
        outputs = self._outputs
        outputs.summaries.append(stream.summary)
        rate = stream.source.rate or FALLBACK_RATE
        stream.tracker = outputs.tracker(rate)
        if outputs.output is not None:
            size = (look.width, look.height)
            stream.writer = self._writers.enter_context(
                video_writer(outputs.output / stream.item.target, size, rate, TIME_BASE)
            )

    def _look_around(self) -> None:
        """Mark the frames of sources that are lost, and tell of those that are given up."""
        now = time.monotonic()
        for stream in self._streams:
            if stream.source.failed is not None and not stream.told:
                stream.told = True
                self._outputs.lost += 1
                self._outputs.problem(stream.source.failed)
            mark = stream.source.mark()
            if mark == stream.mark or stream.image is None:
                continue
            stream.mark = mark
            self._marked = True
            stream.shown = stream.image if mark is None else marked(stream.image, mark)
            if mark is not None and stream.writer is not None and now - stream.marked_at >= MARK:
                stream.marked_at = now
                assert stream.begin is not None
                stream.writer.write(stream.shown, Fraction(round(1000 * (now - stream.begin)), 1000))

    def _show(self, fresh: bool) -> bool:
        """Show what there is; return whether to go on."""
        outputs = self._outputs
        now = time.monotonic()
        if outputs.window is None or (not fresh and now - self._shown_at < TICK):
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
        if not outputs.show(image):
            return False
        if " " in outputs.press(image):
            self._paused = image if self._paused is None else None
        return True
