"""Destination of deliveries: interface, failure, pace of retries."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from serve.watch.deliveries.outbox import Delivery
from serve.watch.storage.event_store import DeliveryRoute


@dataclass(eq=False)
class DeliveryFailed(Exception):
    """Delivery that a destination did not take.

    Attributes:
        problem: one line, without secrets.
        permanent: whether further attempts would fail as well: the delivery is given up.
        retry_after: seconds that the destination asks to wait; None for none.
    """

    problem: str
    permanent: bool = False
    retry_after: float | None = None


class Destination(Protocol):
    """Destination of deliveries. Its methods run in one event loop.

    Attributes:
        route: its name, and what it gets.
        give_up_s: age of a delivery after which it is given up, s.
    """

    route: DeliveryRoute
    give_up_s: float

    async def run(self, ready: Callable[[], None]) -> None:
        """Hold connections until it is cancelled; call `ready` when deliveries that failed can be tried again."""

    async def deliver(self, delivery: Delivery) -> None:
        """Deliver once; returns when the destination has confirmed it. Raises `DeliveryFailed`."""


@dataclass(frozen=True, slots=True)
class RetryPace:
    """Exponential backoff with jitter: half of each wait is random, so that many clients do not come back at once.

    Attributes:
        first_s: wait after the first failure, s.
        longest_s: longest wait, s.
    """

    first_s: float = 1.0
    longest_s: float = 300.0

    def wait(self, failures: int, random_share: float | None = None) -> float:
        """Return seconds to wait after a number of failures, from 1; `random_share`: 0 to 1, None for a random one."""
        wait = min(self.first_s * 2.0 ** min(failures - 1, 30), self.longest_s)
        share = random.random() if random_share is None else random_share
        return wait * (0.5 + 0.5 * share)


DEFAULT_PACE = RetryPace()


async def forever() -> None:
    """Wait until the task is cancelled."""
    await asyncio.Event().wait()
