"""Stream statistics of a live source: rates of received, processed and dropped frames, and frame ages."""

import threading
import time
from collections import deque

import numpy as np

STEP, TOP = 0.001, 20.0  # seconds: bin width of the histogram of ages, and its upper end
FRAMES_OF_TILES = 50  # frames over which the recent number of tiles is averaged
WINDOW = 2.0  # seconds over which a recent rate is taken


class Rate:
    """Event rate per second, recent and overall; counted in one thread, read in another."""

    def __init__(self) -> None:
        """Start at zero."""
        self.count = 0
        self._first = self._last = 0.0
        self._recent: deque[float] = deque()
        self._lock = threading.Lock()

    def add(self, now: float) -> None:
        """Count an event at time `now`, in seconds."""
        with self._lock:
            if self.count == 0:
                self._first = now
            self.count += 1
            self._last = now
            self._recent.append(now)
            while self._recent[0] < now - WINDOW:
                self._recent.popleft()

    def recent(self, now: float) -> float:
        """Return events per second over the last `WINDOW` seconds."""
        with self._lock:
            inside = [moment for moment in self._recent if moment >= now - WINDOW]
            span = min(WINDOW, max(now - self._first, 1e-3))
        return (len(inside) - (span < WINDOW)) / span if inside else 0.0

    def overall(self) -> float:
        """Return events per second from the first to the last; 0 for fewer than two."""
        with self._lock:
            span = self._last - self._first
            return (self.count - 1) / span if span > 0 else 0.0


class StreamStats:
    """Statistics of one live source.

    Attributes:
        captured: frames received.
        looked_at: frames processed by the network.
        tiles: tiles of these frames that were processed beside them.
        dropped: frames skipped because the network was busy.
        damaged: frames left out because of damage on the way: lost packets, errors of the decoder.
        reconnects: number of reconnections after a loss of signal.
    """

    def __init__(self) -> None:
        """Start at zero; memory is constant from here."""
        self.captured, self.looked_at = Rate(), Rate()
        self.dropped = self.damaged = self.reconnects = self.tiles = 0
        self._tiles_per_frame: deque[int] = deque(maxlen=FRAMES_OF_TILES)
        self._ages = np.zeros(round(TOP / STEP) + 1, np.int64)
        self._age = 0.0

    def add_tiles(self, count: int) -> None:
        """Count the tiles of one frame."""
        self.tiles += count
        self._tiles_per_frame.append(count)

    @property
    def tiled(self) -> bool:
        """Whether frames were given to tiled detection, even if there was time for no tile."""
        return bool(self._tiles_per_frame)

    def shown(self, age: float) -> None:
        """Record the age of a displayed frame: seconds from its capture to its display."""
        self._age = age
        self._ages[min(max(round(age / STEP), 0), len(self._ages) - 1)] += 1

    def age(self, percent: float) -> float:
        """Return a percentile of the displayed frames' ages in milliseconds; 0 before the first frame."""
        total = int(self._ages.sum())
        if total == 0:
            return 0.0
        return 1000 * STEP * int(np.searchsorted(np.cumsum(self._ages), np.ceil(total * percent / 100)))

    def line(self) -> str:
        """Return the line of statistics that is drawn on the frame."""
        now = time.monotonic()
        damaged = f"damaged {self.damaged}  " if self.damaged else ""
        recent = list(self._tiles_per_frame)
        tiles = f"tiles {sum(recent) / len(recent):.1f} a frame  " if recent else ""
        return (
            f"camera {self.captured.recent(now):.1f}/s  looked at {self.looked_at.recent(now):.1f}/s  {tiles}"
            f"age {1000 * self._age:.0f} ms (p99 {self.age(99):.0f})  "
            f"dropped {self.dropped}  {damaged}reconnected {self.reconnects}"
        )
