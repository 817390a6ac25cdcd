"""The numbers of a live source, told as they are: how many frames came, were looked at, were lost, and how old."""

import threading
import time
from collections import deque

import numpy as np

STEP, TOP = 0.001, 20.0  # seconds: a bin of the ages' histogram, and its last one
WINDOW = 2.0  # seconds that a rate on the screen is of


class Rate:
    """Events a second, of late and in all. Counted in one thread, read in another."""

    def __init__(self) -> None:
        """Start with none."""
        self.count = 0
        self._first = self._last = 0.0
        self._recent: deque[float] = deque()
        self._lock = threading.Lock()

    def add(self, now: float) -> None:
        """Count one."""
        with self._lock:
            if self.count == 0:
                self._first = now
            self.count += 1
            self._last = now
            self._recent.append(now)
            while self._recent[0] < now - WINDOW:
                self._recent.popleft()

    def recent(self, now: float) -> float:
        """Events a second of the last two."""
        with self._lock:
            inside = [moment for moment in self._recent if moment >= now - WINDOW]
            span = min(WINDOW, max(now - self._first, 1e-3))
        return (len(inside) - (span < WINDOW)) / span if inside else 0.0

    def overall(self) -> float:
        """Events a second from the first to the last; 0 where there are not two."""
        with self._lock:
            span = self._last - self._first
            return (self.count - 1) / span if span > 0 else 0.0


class StreamStats:
    """What one live source came to.

    Attributes:
        captured: frames that came; looked_at: those that went through the network.
        dropped: those that would have been looked at, had there been time.
        reconnects: how often the signal was lost and came back.
    """

    def __init__(self) -> None:
        """Start at nothing; memory does not grow from here."""
        self.captured, self.looked_at = Rate(), Rate()
        self.dropped = self.reconnects = 0
        self._ages = np.zeros(round(TOP / STEP) + 1, np.int64)
        self._age = 0.0

    def shown(self, age: float) -> None:
        """Note a frame's age in seconds, from when it was taken to when it was shown and written."""
        self._age = age
        self._ages[min(max(round(age / STEP), 0), len(self._ages) - 1)] += 1

    def age(self, percent: float) -> float:
        """Percentile of the shown frames' ages in milliseconds, to one; 0 before the first."""
        total = int(self._ages.sum())
        if total == 0:
            return 0.0
        return 1000 * STEP * int(np.searchsorted(np.cumsum(self._ages), np.ceil(total * percent / 100)))

    def line(self) -> str:
        """What stands on the picture."""
        now = time.monotonic()
        return (
            f"camera {self.captured.recent(now):.1f}/s  looked at {self.looked_at.recent(now):.1f}/s  "
            f"age {1000 * self._age:.0f} ms (p99 {self.age(99):.0f})  "
            f"dropped {self.dropped}  reconnected {self.reconnects}"
        )
