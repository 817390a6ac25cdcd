"""Stages of a pipeline that overlap: one thread each, a bounded number of items between them, results in order."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Pending(Protocol[Result_co]):
    """Result of work under way: a `concurrent.futures.Future`, or any object with its method `result`."""

    def result(self) -> Result_co:
        """Wait for the result, or raise what the work raised."""
        ...


class Stages:
    """The stages of one run, ended together.

    Within the block `ahead` chains them: each takes the results of the one before it. When the block ends (at its end,
    by an error or by ctrl-C), every stage stops after its current item, and all threads are joined.
    """

    def __init__(self) -> None:
        """Start with no stage."""
        self._stopped = False
        self._threads: list[Thread] = []
        self._pools: list[ThreadPoolExecutor] = []
        self._waits: list[SimpleQueue[Any]] = []  # on which the stages' threads wait for room

    def ahead(
        self, items: Iterable[Item], start: Callable[[Item], Pending[Result]], depth: int, name: str
    ) -> Iterator[Result]:
        """Yield `start(item).result()` for each item, in order, started up to `depth` items ahead of the consumer.

        Args:
            items: iterated in this stage's own thread, and closed there if it is a generator; at most `depth` of them
                are between it and the consumer.
            start: called in that thread; the consumer's thread waits for the returned work.
            depth: at least 1.
            name: name of the thread, for stack dumps.

        An error of `items`, of `start` or of the work is raised at its place in the order, and ends the iteration.
        """
        room: SimpleQueue[None] = SimpleQueue()
        for _ in range(depth):
            room.put(None)
        started: SimpleQueue[Pending[Result] | None] = SimpleQueue()
        thread = Thread(target=self._feed, args=(items, start, room, started), name=name)
        self._waits.append(room)
        self._threads.append(thread)
        thread.start()
        return self._collect(room, started)

    def pool(self, workers: int, name: str) -> ThreadPoolExecutor:
        """A pool of threads, for the `start` of a stage whose work is a plain function."""
        pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._pools.append(pool)
        return pool

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop every stage and join the threads."""
        self._stopped = True
        for room in self._waits:
            room.put(None)
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.join()
        for pool in self._pools:
            pool.shutdown()

    def _feed(
        self,
        items: Iterable[Item],
        start: Callable[[Item], Pending[Result]],
        room: "SimpleQueue[None]",
        started: "SimpleQueue[Pending[Result] | None]",
    ) -> None:
        """Run a stage's thread; its last entry is always None, so that the consumer never waits forever."""
        try:
            iterator = iter(items)
            try:
                while True:
                    room.get()
                    if self._stopped:
                        return
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                    started.put(start(item))
                    del item  # it may be large, and the started work owns it now
            finally:
                if isinstance(iterator, Generator):
                    iterator.close()
        except BaseException as error:
            started.put(_Failed(error))
        finally:
            started.put(None)

    @staticmethod
    def _collect(room: "SimpleQueue[None]", started: "SimpleQueue[Pending[Result] | None]") -> Iterator[Result]:
        while (pending := started.get()) is not None:
            result = pending.result()
            del pending  # it holds its result, and the consumer may be slow
            room.put(None)
            yield result
            del result


class _Failed:
    """Work of an item that failed before it started."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def result(self) -> Any:
        raise self._error


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """Work that is finished already: for a `start` that sometimes has nothing to wait for."""

    value: Result

    def result(self) -> Result:
        """Return the value."""
        return self.value
