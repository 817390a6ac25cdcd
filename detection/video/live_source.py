"""A source that does not wait: a thread keeps its newest frame, and a watchdog keeps the thread going."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from data.errors import PeleeError
from detection.video.frames import Capture, CapturedFrame
from detection.video.open_source import open_capture
from detection.video.source_names import display_name
from detection.video.stream_stats import StreamStats

START = 6.5  # seconds until a source that neither opens nor fails is given up; FFmpeg's own limit is a little less
STALL = 3.0  # seconds without a frame that are no pause any more, for a source that gives more than one in them
PAUSES = 4  # of its usual time between two frames are none either
FIRST_WAIT, LONGEST_WAIT = 0.25, 2.0  # seconds from one try to connect to the next, doubled each time
LEAVE = 0.5  # seconds that a thread gets to end


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame: its number among all that came, 0-based; when it was taken (`time.monotonic()`); and how to get it."""

    number: int
    captured: float
    picture: Callable[[], np.ndarray]


class Grabber(threading.Thread):
    """Opens a capture and reads it until its end; only the newest frame is kept.

    A read that hangs cannot be interrupted: the thread is then left behind, and ends by itself once it returns.
    """

    def __init__(
        self, address: str, open_: Callable[[str], Capture], on_frame: Callable[["Grabber", CapturedFrame], None]
    ):
        """Take what opens the address, and what is told of each frame in this thread."""
        super().__init__(name=f"grab {display_name(address)}", daemon=True)
        self._address, self._open, self._on_frame = address, open_, on_frame
        self._left = threading.Event()
        self.touched = time.monotonic()
        self.frames = 0
        self.error: str | None = None
        self.rate: Fraction | None = None
        self.recording = False
        self.done = threading.Event()

    def run(self) -> None:
        """The thread."""
        capture: Capture | None = None
        try:
            capture = self._open(self._address)
            self.recording, self.rate = capture.recording, capture.rate
            while not self._left.is_set() and (shot := capture.read()) is not None:
                if self._left.is_set():
                    break
                self.touched = time.monotonic()
                self.frames += 1
                self._on_frame(self, shot)
        except PeleeError as error:
            self.error = str(error)
        finally:
            if capture is not None:
                capture.close()
            self.done.set()

    def leave(self) -> None:
        """Ask it to end; it does so after the read that it is in."""
        self._left.set()


class LiveSource:
    """A camera, a stream or the test pattern, that comes back after it was lost.

    `poll` is called a few times a second, by one thread; `newest` by the same.

    Attributes:
        name: what to call it: an address without its password.
        rate: frames a second that it claims; None where it claims nothing, or has not opened yet.
        figures: its numbers.
        ended: a recording came to its end, or the source was given up.
        failed: why it was given up; None as long as it was not.
    """

    def __init__(
        self,
        address: str,
        *,
        retries: int,
        wake: Callable[[], None] = lambda: None,
        open_: Callable[[str], Capture] = open_capture,
        stall: float = STALL,
        start: float = START,
    ) -> None:
        """Take an address, and begin to open it.

        Args:
            retries: how often in a row it is tried to connect again after the signal was lost; one that was never
                there is not waited for.
            wake: called in another thread when there is a new frame, or an end.
            open_: opens it.
            stall, start: seconds after which it is taken for dead: without a frame, and before the first one.
        """
        self.name = display_name(address)
        self.rate: Fraction | None = None
        self.figures = StreamStats()
        self.ended = False
        self.failed: str | None = None
        self._address, self._retries, self._open = address, retries, open_
        self._wake, self._stall, self._start = wake, stall, start
        self._lock = threading.Lock()
        self._newest: LiveFrame | None = None
        self._came = 0.0  # when the newest frame came
        self._gap = 0.0  # usual seconds between two
        self._tries = 0
        self._lost_at: float | None = None  # when the last frame before the loss came
        self._retry_at = 0.0
        self._taken = -1
        self._grabber: Grabber | None = self._begin()

    def poll(self) -> list[str]:
        """Look after the thread; return what there is to say, a line each."""
        now = time.monotonic()
        if self.ended:
            return []
        grabber = self._grabber
        if grabber is None:
            if now >= self._retry_at:
                self._tries += 1
                self._grabber = self._begin()
            return []
        said = []
        if grabber.frames and self._lost_at is not None:
            said.append(f"{self.name}: the signal is back after {now - self._lost_at:.1f} s")
            self.figures.reconnects += 1
            self._tries, self._lost_at = 0, None
        limit = max(self._stall, PAUSES * self._gap) if grabber.frames else self._start
        if grabber.done.is_set():
            if grabber.recording and grabber.error is None:
                self.ended = True
                return said
            return said + self._lose(grabber, grabber.error or f"{self.name}: the stream ended", now)
        if now - grabber.touched > limit:
            kind = "nothing came" if grabber.frames else "it does not answer"
            return said + self._lose(grabber, f"{self.name}: {kind} for {limit:.0f} s", now)
        return said

    def newest(self, every: int = 1) -> LiveFrame | None:
        """The newest frame, at least `every` after the one that was taken last; None where there is none yet."""
        with self._lock:
            frame = self._newest
        if frame is None or self.ended:
            return None
        gap = frame.number - self._taken
        if gap < (every if self._taken >= 0 else 1):
            return None
        if self._taken >= 0:
            self.figures.dropped += gap // every - 1
        self._taken = frame.number
        return frame

    def mark(self) -> str | None:
        """What to write over the last frame: how long there was no signal, and what is done; None where there is."""
        lost = self._lost_at
        if lost is None:
            return None
        silent = f"no signal for {time.monotonic() - lost:.0f} s"
        return f"{silent}, given up" if self.failed else f"{silent}, reconnecting ({max(self._tries, 1)})"

    def close(self) -> None:
        """Let the source go; a thread that hangs is left behind."""
        self.ended = True
        if self._grabber is not None:
            self._grabber.leave()
            self._grabber.join(LEAVE)

    def _begin(self) -> Grabber:
        grabber = Grabber(self._address, self._open, self._take)
        grabber.start()
        return grabber

    def _take(self, grabber: Grabber, shot: CapturedFrame) -> None:
        """A frame has come, in the grabber's thread."""
        now = time.monotonic()
        self.rate = grabber.rate
        with self._lock:
            number = 0 if self._newest is None else self._newest.number + 1
            if number and grabber.frames > 1:
                gap = now - self._came
                self._gap = gap if not self._gap else 0.9 * self._gap + 0.1 * gap
            self._came = now
            self._newest = LiveFrame(number, shot.captured, shot.picture)
        self.figures.captured.add(now)
        self._wake()

    def _lose(self, grabber: Grabber, reason: str, now: float) -> list[str]:
        """Give a thread up, and plan the next try, if there is one; there is none for a source that never worked."""
        grabber.leave()
        self._grabber = None
        began = self._newest is not None
        if not began or self._tries >= self._retries:
            self.ended = True
            tries = f"; given up after {self._tries} tries" if began and self._retries else ""
            self.failed = reason + tries
            if began and self._lost_at is None:
                self._lost_at = self._came
            self._wake()
            return []
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2**self._tries)
        self._retry_at = now + wait * random.uniform(0.5, 1)  # cameras behind one switch do not all come at once
        if self._lost_at is not None:
            return []
        self._lost_at = self._came
        return [f"{reason}; reconnecting"]
