import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serve.watch.deliveries import courier as module
from serve.watch.deliveries.courier import Courier
from serve.watch.deliveries.destination import DeliveryFailed, RetryPace, forever
from serve.watch.deliveries.outbox import Delivery, Outbox
from serve.watch.settings import Phase
from serve.watch.storage.database import Database
from serve.watch.storage.event_store import DeliveryRoute, EventStore
from tests.support.watch_events import ended, make_event, wait_until

QUICK = RetryPace(0.01, 0.02)
SLOW = RetryPace(3600.0, 3600.0)


class FakeDestination:
    """Destination that notes deliveries and fails as it is told.

    Attributes:
        taken: the deliveries.
        tried: the ids of all attempts.
        failures: raised by the next attempts.
        away: whether it takes nothing.
        ready: tells that it is back.
    """

    def __init__(self, name: str = "hook", phases: tuple[Phase, ...] = (Phase.BEGIN, Phase.FINISH)) -> None:
        self.route = DeliveryRoute(name, phases)
        self.give_up_s = 3600.0
        self.taken: list[Delivery] = []
        self.tried: list[str] = []
        self.failures: list[Exception] = []
        self.away = False
        self.hangs = False
        self.ready: Callable[[], None] = lambda: None
        self.ended = threading.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.ready = lambda: loop.call_soon_threadsafe(ready)
        try:
            await forever()
        finally:
            self.ended.set()

    async def deliver(self, delivery: Delivery) -> None:
        self.tried.append(delivery.id)
        if self.hangs:
            await forever()
        if self.failures:
            raise self.failures.pop(0)
        if self.away:
            raise DeliveryFailed("away")
        self.taken.append(delivery)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/watch.db")
    yield opened
    opened.close()


@contextlib.contextmanager
def running(
    database: Database, *destinations: FakeDestination, pace: RetryPace = QUICK
) -> Iterator[tuple[EventStore, Courier]]:
    courier = Courier(Outbox(database), destinations, pace)
    try:
        yield EventStore(database, Path("/none"), [one.route for one in destinations]), courier
    finally:
        courier.close()


def state(database: Database, name: str = "hook") -> dict[str, int]:
    (counts,) = (one for one in Outbox(database).counts([name]) if one["destination"] == name)
    return counts


@pytest.mark.slow
def test_in_order_per_camera_through_failures(database: Database) -> None:
    hook = FakeDestination()
    hook.failures = [DeliveryFailed("refused"), RuntimeError("a bug"), DeliveryFailed("again")] * 3
    expected = defaultdict(list)
    with running(database, hook) as (store, courier):
        for number in range(1, 9):
            event = make_event(number, camera=("yard", "road")[number % 2])
            store.begin(event)
            store.finish(ended(event))
            expected[event.camera] += [f"{event.id}-begin", f"{event.id}-finish"]
            courier.wake()
        wait_until(lambda: len(hook.taken) == 16)
        wait_until(lambda: state(database)["delivered"] == 16)
    found = defaultdict(list)
    for one in hook.taken:
        found[one.camera].append(one.id)
    assert found == expected and len(hook.tried) == 16 + 9 and hook.ended.is_set()


def test_a_destination_that_is_away_does_not_delay_another(database: Database) -> None:
    hook, other = FakeDestination("hook"), FakeDestination("other")
    hook.away = True
    with running(database, hook, other, pace=SLOW) as (store, courier):
        for number in range(1, 4):
            store.finish(ended(make_event(number)))
        courier.wake()
        wait_until(lambda: len(other.taken) == 6)
        wait_until(lambda: Outbox(database).heads("hook")[0].attempts == 1)
        assert hook.tried == [f"{1:032x}-begin"] and state(database)["pending"] == 6
        hook.away = False
        hook.ready()  # its connection is back: no wait for the hour
        wait_until(lambda: state(database)["delivered"] == 6)


@pytest.mark.slow
def test_a_permanent_failure_and_age_give_up(database: Database) -> None:
    hook = FakeDestination()
    hook.failures = [DeliveryFailed("status 404", permanent=True)]
    with running(database, hook) as (store, courier):
        store.finish(ended(make_event(1)))
        courier.wake()
        wait_until(lambda: state(database)["delivered"] == 1)
        assert state(database)["given_up"] == 1 and [one.phase for one in hook.taken] == ["finish"]
        hook.away, hook.give_up_s = True, 0.15
        store.begin(make_event(2))
        courier.wake()
        wait_until(lambda: state(database)["given_up"] == 2)
        assert hook.tried.count(f"{2:032x}-begin") >= module.LEAST_ATTEMPTS


def test_the_wait_that_a_destination_asks_for(database: Database) -> None:
    hook = FakeDestination()
    hook.failures = [DeliveryFailed("busy", retry_after=0.0), DeliveryFailed("busy", retry_after=1800.0)]
    with running(database, hook, pace=SLOW) as (store, courier):
        store.begin(make_event(1))
        courier.wake()
        head = wait_until(lambda: next((one for one in Outbox(database).heads("hook") if one.attempts == 2), None))
    assert 1700 < (head.next_attempt - head.created).total_seconds() < 1900


def test_a_clock_that_jumps_neither_gives_up_nor_stops(database: Database) -> None:
    """Forward: the first failure comes at an age of years. Backward: the next attempt is due in years."""
    hook = FakeDestination()
    hook.failures = [DeliveryFailed("refused")]
    with running(database, hook) as (store, _):
        pass
    store.finish(ended(make_event(1)))
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET created = '1970-01-01', next_attempt = '2990-01-01'")
    with running(database, hook):
        wait_until(lambda: state(database)["delivered"] == 2)
    assert len(hook.tried) == 3


def test_what_was_confirmed_and_not_recorded_goes_out_again(database: Database, tmp_path: Path) -> None:
    """As after kill -9 between the two: at least once, with the same id and body."""
    hook = FakeDestination()
    with running(database, hook) as (store, _):
        pass
    store.begin(make_event(1))
    with running(database, hook):
        wait_until(lambda: state(database)["delivered"] == 1)
    first = hook.taken[0]
    Outbox(database).retry(first.number, first.created, "")
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET state = 'pending'")
    with running(database, hook):
        wait_until(lambda: len(hook.taken) == 2)
    assert hook.taken[1].id == first.id and hook.taken[1].body == first.body


@pytest.mark.slow
def test_the_end_does_not_wait_for_a_destination_that_hangs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 0.1)
    hook = FakeDestination()
    hook.hangs = True
    with running(database, hook) as (store, courier):
        store.begin(make_event(1))
        courier.wake()
        wait_until(lambda: hook.tried)
    assert state(database)["pending"] == 1 and hook.ended.is_set()
    courier.wake()  # of no effect after the end


def test_the_end_comes_where_a_cancellation_is_lost(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a client that waits with Python 3.11's `asyncio.wait_for`."""
    monkeypatch.setattr(module, "CANCEL_S", 0.01)

    class DeafOnce(FakeDestination):
        async def run(self, ready: Callable[[], None]) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await forever()
            await super().run(ready)

    hook = DeafOnce()
    with running(database, hook):
        pass
    assert hook.ended.is_set()


def test_the_end_ends_the_tasks_that_a_destination_has_left(database: Database) -> None:
    """As a client of MQTT that is cancelled while it connects."""

    class Leaving(FakeDestination):
        async def run(self, ready: Callable[[], None]) -> None:
            self.left = asyncio.create_task(forever())
            await super().run(ready)

    hook = Leaving()
    with running(database, hook):
        pass
    assert hook.left.cancelled()


def test_the_end_waits_for_the_thread_of_a_destination(database: Database) -> None:
    """As in aiomqtt, which connects in a thread, and there begins a task when it is connected."""
    go_on = threading.Event()

    class Connecting(FakeDestination):
        left: asyncio.Task[None] | None = None

        async def run(self, ready: Callable[[], None]) -> None:
            loop = asyncio.get_running_loop()

            def begin() -> None:
                self.left = loop.create_task(forever())

            def connect() -> None:
                go_on.wait(10)
                loop.call_soon_threadsafe(begin)

            try:
                await loop.run_in_executor(None, connect)
            finally:  # cancelled
                loop.call_later(0.05, go_on.set)

    hook = Connecting()
    with running(database, hook):
        pass
    assert hook.left is not None and hook.left.cancelled()


def test_the_end_delivers_what_is_due(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 60.0)
    hook = FakeDestination()
    with running(database, hook) as (store, _):
        for number in range(1, 6):
            store.finish(ended(make_event(number)))
    assert len(hook.taken) == 10


def test_without_destinations(database: Database) -> None:
    with running(database) as (store, courier):
        store.begin(make_event(1))
        courier.wake()
