"""Images read ahead in threads, in their order; one that cannot be read is an item, too."""

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
        read: called in `workers` threads; any other error ends the whole iteration.
        ahead: at most so many results wait in memory, so let `read` return what is small (a preprocessed image).
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
