"""Times of the stages of detection: decoding, preprocessing, network, post-processing."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

KEPT = 4096  # latest values of a stage; bounds the memory of a stream that runs for days


class StageTimer:
    """Wall-clock times per image of each stage; a stage that raises is not recorded.

    Thread-safe. Stages of several threads overlap, so the sum of the times can exceed the duration of a run.
    """

    def __init__(self) -> None:
        """Start without stages; they are listed in the order of their first times."""
        self._times: dict[str, deque[float]] = {}

    @contextmanager
    def stage(self, name: str, images: int = 1) -> Iterator[None]:
        """Time a block that processes `images` images together."""
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start, images)

    def add(self, name: str, seconds: float, images: int = 1) -> None:
        """Record `seconds` for `images` images of a stage."""
        if images > 0:
            self._times.setdefault(name, deque(maxlen=KEPT)).append(seconds / images)

    def medians(self) -> dict[str, float]:
        """Median of each stage, in milliseconds per image."""
        return {name: 1000 * median(times) for name, times in self._times.items()}
