"""Processor cores usable by this process, and work on all of them."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

MOST = 8  # threads that read images; more wait for the disk or for Python's lock
Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Number of cores in the process's affinity mask, or of all cores where the system has none."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], threads: int | None = None
) -> Iterator[Result]:
    """Map in order; on an error or ctrl-C pending items are cancelled, so that the command ends at once.

    Args:
        threads: their number; by default one per core, at most `MOST`.
    """
    from concurrent.futures import ThreadPoolExecutor  # not at the start of commands that only count cores

    pool = ThreadPoolExecutor(threads or min(usable_cores(), MOST))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
