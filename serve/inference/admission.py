"""Who comes in: a bounded number of pictures under way, and for the others the time after which to ask again."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serve.errors import ServiceError

SMOOTHING = 0.1  # a new time's share in the average


class Admission:
    """Counts pictures under way, from their last byte to their answer. Used by the event loop's thread alone."""

    def __init__(self, size: int, deadline: float) -> None:
        """Take the most pictures under way, and the seconds that one may take."""
        self.size = size
        self.deadline = deadline
        self.pending = 0
        self.draining = False
        self.seconds_per_picture = 0.0  # averaged over the latest answers
        self._last = 0.0  # when the latest answer went

    def check(self, count: int = 1) -> None:
        """Raise `ServiceError` where `count` more pictures cannot be taken: `draining`, `busy`.

        A queue that would outlast the deadline is full, however many places it has: whoever came in would only wait
        in vain.
        """
        if self.draining:
            raise ServiceError("draining", "the server is stopping; ask another, or again when it is back", 5)
        too_late = self.pending > 0 and (self.pending + count) * self.seconds_per_picture > self.deadline
        if self.pending + count > self.size or too_late:
            wait = self.retry_after()
            raise ServiceError("busy", f"{self.pending} pictures are under way; ask again in {wait} s", wait)

    @contextmanager
    def enter(self, count: int = 1) -> Iterator[None]:
        """Take `count` places for as long as the block lasts; errors as `check`."""
        self.check(count)
        self.pending += count
        started = time.monotonic()
        try:
            yield
            self._note(started, count)
        finally:
            self.pending -= count

    def retry_after(self) -> int:
        """Whole seconds until what is under way now is done, from 1 to 60."""
        return min(max(math.ceil(self.pending * self.seconds_per_picture), 1), 60)

    def _note(self, started: float, count: int) -> None:
        """Learn from an answer to what came at `started`."""
        now = time.monotonic()
        seconds = (now - max(started, self._last)) / count
        known = self.seconds_per_picture or seconds
        # Work was waiting since the answer before it, or this came later and had the server to itself: then it took at
        # least as long as in a row, where decoding and the network go on together.
        if started < self._last or seconds < known:
            self.seconds_per_picture = known + SMOOTHING * (seconds - known)
        self._last = now
