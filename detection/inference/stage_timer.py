"""How long each stage takes on the way from a picture to its boxes."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

KEPT = 4096  # a camera runs for days: its median is that of the latest pictures


class StageTimer:
    """Wall-clock times by stage, each a time per picture; a stage that raises counts for nothing.

    Stages may run in several threads at the same time, so that their times do not add up to that of a run.
    """

    def __init__(self) -> None:
        """Start empty; a stage appears with its first time, and keeps that place in the order."""
        self._times: dict[str, deque[float]] = {}

    @contextmanager
    def stage(self, name: str, pictures: int = 1) -> Iterator[None]:
        """Time a block that handles `pictures` pictures at once."""
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start, pictures)

    def add(self, name: str, seconds: float, pictures: int = 1) -> None:
        """Note `seconds` for `pictures` pictures of a stage."""
        if pictures > 0:
            self._times.setdefault(name, deque(maxlen=KEPT)).append(seconds / pictures)

    def medians(self) -> dict[str, float]:
        """Milliseconds per picture, the median of each stage."""
        return {name: 1000 * median(times) for name, times in self._times.items()}
