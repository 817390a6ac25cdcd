"""Memory of the service: a budget for images that are being decoded, and free memory returned to the system."""

import ctypes
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

# Parameters of mallopt, see malloc.h. Blocks of MMAP_THRESHOLD or more are returned when they are freed. glibc would
# raise this threshold with the largest freed block, up to 32 MB, and keep twice as much in the heap of every thread.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM_THRESHOLD, MMAP_THRESHOLD = 16 << 20, 4 << 20  # bytes; images of usual sizes stay in the heap, which is faster


class MemoryBudget:
    """Limit on the memory of work that runs at the same time; work over the limit waits its turn. Thread-safe.

    Attributes:
        limit: bytes. Work that needs more than that runs alone.
        used: bytes of the work that runs.
    """

    def __init__(self, limit: int, executor: Executor) -> None:
        """Set the limit; `executor` runs work that had to wait."""
        self.limit = limit
        self.used = 0
        self._executor = executor
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._lock = threading.Lock()

    def run(self, size: int, work: Callable[[], None]) -> None:
        """Run `work`, which raises nothing and needs `size` bytes: now, or once there is room, in the executor.

        Its turn is that of its arrival, so that small work does not keep large work waiting for ever.
        """
        with self._lock:
            if self._waiting or not self._fits(size):
                self._waiting.append((size, work))
                return
            self.used += size
        self._run(size, work)

    def _run(self, size: int, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._release(size)

    def _release(self, size: int) -> None:
        ready = []
        with self._lock:
            self.used -= size
            while self._waiting and self._fits(self._waiting[0][0]):
                ready.append(self._waiting.popleft())
                self.used += ready[-1][0]
        for next_size, work in ready:
            try:
                self._executor.submit(self._run, next_size, work)
            except RuntimeError:  # the executor was shut down: the server ends
                return

    def _fits(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self.limit


def set_malloc_thresholds() -> None:
    """Let the C library return large blocks at once, and the free end of a heap from 16 MB on; with glibc only."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)


def return_free_memory() -> None:
    """Return the free pages of all heaps to the system; with glibc only. Takes some milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
