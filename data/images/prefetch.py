"""Prefetch: read images in worker threads, in order, with errors as items."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from data.errors import ImageError

Source = TypeVar("Source")
Result = TypeVar("Result")


def prefetch(
    sources: Iterable[Source], read: Callable[[Source], Result], *, workers: int = 4, ahead: int = 64
) -> Iterator[tuple[Source, Result | ImageError]]:
    """Yield each source, in order, with what `read` returns for it, or with the `ImageError` that it raises.

    Args:
        sources: items to read, such as paths.
        read: called in `workers` threads; an error other than `ImageError` ends the iteration.
        workers: number of threads.
        ahead: largest number of results in memory; `read` should return small ones (preprocessed images).
    """
    waiting: deque[tuple[Source, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")

    def first() -> tuple[Source, Result | ImageError]:
        source, future = waiting.popleft()
        try:
            return source, future.result()
        except ImageError as error:
            return source, error

    try:
        for source in sources:
            waiting.append((source, pool.submit(read, source)))
            if len(waiting) >= ahead:
                yield first()
        while waiting:
            yield first()
    finally:
        pool.shutdown(cancel_futures=True)
