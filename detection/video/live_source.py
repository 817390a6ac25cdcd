"""Live source: a thread keeps the newest frame, a watchdog restarts it after a loss of signal."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from data.errors import PeleeError
from detection.video.frames import Capture, CapturedFrame, Reception
from detection.video.open_source import open_capture
from detection.video.source_names import display_name
from detection.video.stream_stats import StreamStats

START = 6.5  # timeout of opening, in seconds; FFmpeg's own is a little less
STALL = 3.0  # timeout without a frame, in seconds
KEY_WAIT = 30.0  # the same while data arrives: a stream may have a key frame every 20 seconds only
NOTE = 10.0  # seconds between two messages about damage
PAUSES = 4  # the same in usual frame intervals, for slow sources; the longer timeout counts
FIRST_WAIT, LONGEST_WAIT = 0.25, 2.0  # seconds between retries, doubled each time
LEAVE = 0.5  # seconds that `close` waits for the thread


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """Frame of a live source.

    Attributes:
        number: 0-based, among all frames received.
        captured: capture time on the clock of `time.monotonic()`.
        to_rgb: converts it to (H, W, 3) uint8 RGB.
        luma: as of `CapturedFrame`.
    """

    number: int
    captured: float
    to_rgb: Callable[[], np.ndarray]
    luma: Callable[[], np.ndarray] | None = None


class Grabber(threading.Thread):
    """Thread that opens a capture and reads it until its end.

    A read that hangs cannot be interrupted. The thread is then abandoned, and ends once the read returns.
    """

    def __init__(
        self, address: str, open_: Callable[[str], Capture], on_frame: Callable[["Grabber", CapturedFrame], None]
    ):
        """Set the address, the function that opens it, and the callback for each frame (called in this thread)."""
        super().__init__(name=f"grab {display_name(address)}", daemon=True)
        self._address, self._open, self._on_frame = address, open_, on_frame
        self._left = threading.Event()
        self.touched = time.monotonic()
        self.reception = Reception(self.touched)
        self.frames = 0
        self.error: str | None = None
        self.rate: Fraction | None = None
        self.recording = False
        self.done = threading.Event()

    def run(self) -> None:
        """Run the thread."""
        capture: Capture | None = None
        try:
            capture = self._open(self._address)
            self.recording, self.rate, self.reception = capture.recording, capture.rate, capture.reception
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
        """Ask the thread to end after its current read."""
        self._left.set()


class LiveSource:
    """Camera, stream or test pattern that reconnects after a loss of signal.

    `poll` is called a few times a second, by one thread; `newest` by the same.

    Attributes:
        name: name in results; an address without its password.
        rate: nominal frames per second; None where the source states none or is not open yet.
        figures: rates, losses and ages.
        ended: a recording reached its end, or the source was given up.
        failed: reason for which the source was given up; else None.
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
        longest_wait: float = LONGEST_WAIT,
        awaited: bool = False,
    ) -> None:
        """Start to open an address, in a thread.

        Args:
            retries: largest number of retries in a row after a loss of signal.
            wake: called in another thread at each new frame and at the end.
            open_: opens the address.
            stall, start: timeouts in seconds: between two frames, and before the first one.
            longest_wait: largest number of seconds between two retries.
            awaited: whether a source that is absent at the start is retried as well.
        """
        self.name = display_name(address)
        self.rate: Fraction | None = None
        self.figures = StreamStats()
        self.ended = False
        self.failed: str | None = None
        self._address, self._retries, self._open = address, retries, open_
        self._wake, self._stall, self._start = wake, stall, start
        self._longest_wait, self._awaited = longest_wait, awaited
        self._lock = threading.Lock()
        self._newest: LiveFrame | None = None
        self._came = 0.0  # arrival time of the newest frame
        self._gap = 0.0  # mean seconds between two frames
        self._tries = 0
        self._damaged = self._damaged_told = 0  # damaged frames of this connection, and of all in the last message
        self._damage_told_at = float("-inf")
        self._lost_at: float | None = None  # arrival time of the last frame before the loss; time of the first failure
        self._retry_at = 0.0
        self._taken = -1
        self._grabber: Grabber | None = self._begin()

    def poll(self) -> list[str]:
        """Check the thread, and restart it where it failed; return messages for the user, a line each."""
        now = time.monotonic()
        if self.ended:
            return []
        grabber = self._grabber
        if grabber is None:
            if now >= self._retry_at:
                self._tries += 1
                self._grabber = self._begin()
            return []
        said = self._damage(grabber, now)
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
        arriving = now - grabber.reception.received <= limit
        if now - grabber.touched > (max(limit, KEY_WAIT) if arriving else limit):
            kind = "nothing came" if grabber.frames else "it does not answer"
            if arriving:
                kind, limit = "no whole frame came", max(limit, KEY_WAIT)
            return said + self._lose(grabber, f"{self.name}: {kind} for {limit:.0f} s", now)
        return said

    def newest(self, every: int = 1) -> LiveFrame | None:
        """Return the newest frame, at least `every` after the one returned last; None where there is none yet."""
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
        """Text over the last frame during a loss of signal: its duration and the retries; None with a signal."""
        lost = self._lost_at
        if lost is None:
            return None
        silent = f"no signal for {time.monotonic() - lost:.0f} s"
        return f"{silent}, given up" if self.failed else f"{silent}, reconnecting ({max(self._tries, 1)})"

    def close(self) -> None:
        """Release the source; a thread that hangs is abandoned."""
        self.ended = True
        if self._grabber is not None:
            self._grabber.leave()
            self._grabber.join(LEAVE)

    def _damage(self, grabber: Grabber, now: float) -> list[str]:
        """Count the damaged frames; return a message about them, at most one every `NOTE` seconds."""
        damaged = grabber.reception.damaged
        self.figures.damaged += damaged - self._damaged
        self._damaged = damaged
        if self.figures.damaged == self._damaged_told or now - self._damage_told_at < NOTE:
            return []
        self._damaged_told, self._damage_told_at = self.figures.damaged, now
        return [f"{self.name}: damaged on the way: {self.figures.damaged} frames left out until the next key frame"]

    def _begin(self) -> Grabber:
        self._damaged = 0
        grabber = Grabber(self._address, self._open, self._take)
        grabber.start()
        return grabber

    def _take(self, grabber: Grabber, shot: CapturedFrame) -> None:
        """Store a new frame; called in the grabber's thread."""
        now = time.monotonic()
        self.rate = grabber.rate
        with self._lock:
            number = 0 if self._newest is None else self._newest.number + 1
            if number and grabber.frames > 1:
                gap = now - self._came
                self._gap = gap if not self._gap else 0.9 * self._gap + 0.1 * gap
            self._came = now
            self._newest = LiveFrame(number, shot.captured, shot.to_rgb, shot.luma)
        self.figures.captured.add(now)
        self._wake()

    def _lose(self, grabber: Grabber, reason: str, now: float) -> list[str]:
        """Abandon the thread, and schedule a retry; a source that never worked is given up."""
        grabber.leave()
        self._grabber = None
        began = self._newest is not None
        if not (began or self._awaited) or self._tries >= self._retries:
            self.ended = True
            tries = f"; given up after {self._tries} tries" if began and self._retries else ""
            self.failed = reason + tries
            if began and self._lost_at is None:
                self._lost_at = self._came
            self._wake()
            return []
        wait = min(self._longest_wait, FIRST_WAIT * 2 ** min(self._tries, 16))
        self._retry_at = now + wait * random.uniform(0.5, 1)  # jitter: not all cameras at once
        if self._lost_at is not None:
            return []
        self._lost_at = self._came if began else now
        return [f"{reason}; reconnecting"]
