"""Admission control: a bounded number of images in progress; rejections carry a computed Retry-After."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve.errors import ServiceError

SMOOTHING = 0.1  # weight of a new measurement in the moving average


class Admission:
    """Counter of the images in progress, from their last byte to their response. Used by the event loop's thread only.

    Attributes:
        size: maximum number of images in progress.
        deadline: seconds that one image may take.
        pending: images in progress.
        draining: whether the server is stopping and rejects every new image.
        seconds_per_image: moving average over the latest responses.
    """

    def __init__(self, size: int, deadline: float) -> None:
        """Set the maximum number of images in progress, and the seconds that one may take."""
        self.size = size
        self.deadline = deadline
        self.pending = 0
        self.draining = False
        self.seconds_per_image = 0.0
        self._last = 0.0  # time of the latest response

    def check(self, count: int = 1) -> None:
        """Raise `ServiceError` if `count` more images cannot be accepted: `draining`, `busy`.

        A queue whose last image would miss the deadline counts as full, however many places it has left.
        """
        if self.draining:
            raise ServiceError("draining", "the server is stopping; ask another, or again when it is back", 5)
        too_late = self.pending > 0 and (self.pending + count) * self.seconds_per_image > self.deadline
        if self.pending + count > self.size or too_late:
            wait = self.retry_after()
            raise ServiceError("busy", f"{self.pending} images are in progress; ask again in {wait} s", wait)

    @contextmanager
    def enter(self) -> Iterator[Callable[[int], None]]:
        """Count an image as in progress for the duration of the block; errors as in `check`.

        Yields a function that sets another number of images, for a request whose number is known only later: that of
        its files once its form has been parsed, or that of an image and its tiles. A lower number is always accepted.
        """
        count = 0

        def set_count(new: int) -> None:
            nonlocal count
            self.pending -= count
            try:
                if new > count:
                    self.check(new)
                count = new
            finally:
                self.pending += count

        set_count(1)
        started = time.monotonic()
        try:
            yield set_count
            self._update_average(started, count)
        finally:
            self.pending -= count

    def retry_after(self) -> int:
        """Whole seconds until the images in progress are finished, from 1 to 60."""
        return min(max(math.ceil(self.pending * self.seconds_per_image), 1), 60)

    def _update_average(self, started: float, count: int) -> None:
        """Update `seconds_per_image` with a response to a request that was accepted at `started`."""
        now = time.monotonic()
        seconds = (now - max(started, self._last)) / count
        known = self.seconds_per_image or seconds
        # Under load (accepted before the previous response) the interval between responses is the throughput. A request
        # that had the server to itself took at least as long as one in a row, where decoding and network overlap: it
        # may only lower the average.
        if started < self._last or seconds < known:
            self.seconds_per_image = known + SMOOTHING * (seconds - known)
        self._last = now
