"""Courier: a thread that takes deliveries from the outbox to their destinations, in order per camera."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from serve.observability.json_logging import log
from serve.watch.deliveries.destination import DEFAULT_PACE, DeliveryFailed, Destination, RetryPace
from serve.watch.deliveries.outbox import Delivery, Outbox
from serve.watch.storage.database import DatabaseError

Result = TypeVar("Result")
LEAST_ATTEMPTS = 10  # before a delivery is given up for its age
LONGEST_WAIT_S = 3600.0  # s that a destination can ask to wait
DRAIN_S = 3.0  # s at the end in which deliveries that are due are still tried
CANCEL_S = 3.0  # s after which a destination that has not ended is cancelled once more
IDLE_S = 30.0  # s after which the outbox is read even if nothing has woken the courier


class Courier:
    """Thread with an event loop, and in it a task for each destination, which do not wait for each other.

    A delivery is recorded as delivered after its destination has confirmed it: one that is confirmed and then
    interrupted by the end of the process goes out again, with the same id.
    """

    def __init__(self, outbox: Outbox, destinations: Sequence[Destination], pace: RetryPace = DEFAULT_PACE) -> None:
        """Start the thread.

        Args:
            outbox: deliveries.
            destinations: their names are unique.
            pace: waits between the attempts of a delivery.
        """
        self.outbox = outbox
        self.destinations = tuple(destinations)
        self.pace = pace
        self._stopping = False
        self._rounds: list[_Rounds] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()
        self._started.wait()

    def wake(self) -> None:
        """Tell that the outbox has new rows; thread-safe."""
        self._call(self._wake)

    def close(self) -> None:
        """Try what is due for at most `DRAIN_S`, then end; the rest stays in the outbox."""
        self._call(self._stop)
        self._thread.join()

    def _call(self, work: Callable[[], Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(work)

    def _wake(self) -> None:
        for one in self._rounds:
            one.wake()

    def _stop(self) -> None:
        self._stopping = True
        for one in self._rounds:
            one.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        with ThreadPoolExecutor(1, "outbox") as pool:
            self._rounds = [_Rounds(self.outbox, one, self.pace, pool) for one in self.destinations]
            self._started.set()
            if self._rounds:
                await asyncio.gather(*(one.run() for one in self._rounds))
        # A client that was cancelled while it connected goes on in a thread and ends in a task of the loop, which would
        # complain when the loop is closed.
        await asyncio.get_running_loop().shutdown_default_executor()
        for left in asyncio.all_tasks() - {asyncio.current_task()}:
            await _end(left)


def _is_due(delivery: Delivery, now: datetime) -> bool:
    """Whether a delivery can be tried; also where its time is so far away that the clock was set back meanwhile."""
    return not now < delivery.next_attempt <= now + timedelta(seconds=LONGEST_WAIT_S)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it has ended.

    `asyncio.wait_for` of Python 3.11, by which clients wait for a broker, loses a cancellation that comes with its
    result.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_S)


class _Rounds:
    """Rounds of one destination: of each camera the oldest delivery, when it is due."""

    def __init__(self, outbox: Outbox, destination: Destination, pace: RetryPace, pool: ThreadPoolExecutor) -> None:
        self.outbox = outbox
        self.destination = destination
        self.name = destination.route.destination
        self.pace = pace
        self.pool = pool
        self.stop_at: float | None = None  # time.monotonic
        self._woken = asyncio.Event()
        self._expedite = False
        self._failing = False
        self._timeouts: set[asyncio.Timeout] = set()  # of the attempts in progress

    def wake(self) -> None:
        self._woken.set()

    def ready(self) -> None:
        """Try everything again at once: the destination is back."""
        self._expedite = True
        self._woken.set()

    def stop(self) -> None:
        self.stop_at = time.monotonic() + DRAIN_S
        for timeout in self._timeouts:
            timeout.reschedule(asyncio.get_running_loop().time() + DRAIN_S)
        self._woken.set()

    async def run(self) -> None:
        holder = asyncio.ensure_future(self._hold())
        try:
            while True:
                self._woken.clear()
                wait = await self._round()
                if self.stop_at is not None and time.monotonic() > self.stop_at:
                    return
                if wait > 0 and self.stop_at is not None and not self._woken.is_set():
                    return
                if wait > 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._woken.wait(), wait)
        finally:
            await _end(holder)

    async def _hold(self) -> None:
        try:
            await self.destination.run(self.ready)
        except Exception as error:
            log(logging.ERROR, "bug", error, destination=self.name)

    async def _round(self) -> float:
        """Try what is due; returns seconds until the next round, 0 for at once."""
        try:
            heads = await self._in_pool(self.outbox.heads, self.name)
            now, expedite = datetime.now(UTC), self._expedite
            self._expedite = False
            due = [one for one in heads if expedite or _is_due(one, now)]
            await asyncio.gather(*map(self._attempt, due))
        except DatabaseError as error:
            log(logging.ERROR, "outbox", destination=self.name, problem=str(error))
            return self.pace.first_s
        if due:
            return 0.0
        return min([IDLE_S, *(max((one.next_attempt - now).total_seconds(), 0.001) for one in heads)])

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            limit = None if self.stop_at is None else max(self.stop_at - time.monotonic(), 0.1)
            async with asyncio.timeout(limit) as timeout:
                self._timeouts.add(timeout)
                try:
                    await self.destination.deliver(delivery)
                finally:
                    self._timeouts.discard(timeout)
        except DeliveryFailed as failure:
            await self._failed(delivery, failure)
        except TimeoutError:  # of the end: the next run tries again
            await self._failed(delivery, DeliveryFailed("the process ended meanwhile"))
        except Exception as error:
            log(logging.ERROR, "bug", error, destination=self.name)
            await self._failed(delivery, DeliveryFailed(f"a bug: {type(error).__name__}"))
        else:
            await self._in_pool(self.outbox.delivered, delivery.number)
            if self._failing:
                self._failing = False
                log(logging.INFO, "delivers again", destination=self.name)

    async def _failed(self, delivery: Delivery, failure: DeliveryFailed) -> None:
        now = datetime.now(UTC)
        wait = self.pace.wait(delivery.attempts + 1)
        if failure.retry_after is not None:
            wait = max(failure.retry_after, 0.0)
        limit = delivery.created + timedelta(seconds=self.destination.give_up_s)
        # By age alone, a clock that is set at boot would give up what is minutes old.
        if failure.permanent or (now >= limit and delivery.attempts + 1 >= LEAST_ATTEMPTS):
            await self._in_pool(self.outbox.give_up, delivery.number, failure.problem)
            log(logging.ERROR, "given up", destination=self.name, delivery=delivery.id, problem=failure.problem)
            return
        next_attempt = now + timedelta(seconds=min(wait, LONGEST_WAIT_S))
        if now < limit:
            next_attempt = min(next_attempt, limit)
        await self._in_pool(self.outbox.retry, delivery.number, next_attempt, failure.problem)
        if not self._failing:
            self._failing = True
            log(logging.WARNING, "does not deliver", destination=self.name, problem=failure.problem)

    async def _in_pool(self, work: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.pool, partial(work, *args))
