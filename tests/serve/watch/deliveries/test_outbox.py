from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serve.watch.deliveries.outbox import Outbox
from serve.watch.settings import Phase
from serve.watch.storage.database import Database
from serve.watch.storage.event_queries import EventQueries
from serve.watch.storage.event_store import DeliveryRoute, EventStore
from tests.support.watch_events import ended, make_event

BOTH = (Phase.BEGIN, Phase.FINISH)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    database = Database(f"sqlite:///{tmp_path}/watch.db")
    yield EventStore(database, tmp_path, [DeliveryRoute("hook", BOTH), DeliveryRoute("file", (Phase.FINISH,))])
    database.close()


def test_heads_are_the_oldest_of_each_camera_in_order(store: EventStore) -> None:
    outbox = Outbox(store.database)
    assert outbox.heads("hook") == []
    first, second = make_event(1), make_event(2, camera="road")
    for event in (first, second):
        store.begin(event)
    store.finish(ended(first))
    heads = outbox.heads("hook")
    assert [(one.camera, one.id) for one in heads] == [("yard", f"{first.id}-begin"), ("road", f"{second.id}-begin")]
    outbox.delivered(heads[0].number)
    assert [one.id for one in outbox.heads("hook")] == [f"{second.id}-begin", f"{first.id}-finish"]
    assert [one.id for one in outbox.heads("file")] == [f"{first.id}-finish"]


def test_a_failed_delivery_stays_the_head_and_is_visible(store: EventStore) -> None:
    outbox = Outbox(store.database)
    store.finish(ended(make_event(1)))
    (head,) = outbox.heads("hook")
    later = datetime.now(UTC) + timedelta(minutes=1)
    outbox.retry(head.number, later, "refused " * 100)
    (again,) = outbox.heads("hook")
    assert (again.number, again.attempts, again.next_attempt) == (head.number, 1, later)
    counts = {one.pop("destination"): one for one in outbox.counts(["hook", "file", "mqtt"])}
    assert (counts["hook"]["pending"], counts["hook"]["problem"][:8]) == (2, "refused ")
    assert counts["hook"]["oldest"] is not None and len(counts["hook"]["problem"]) == 300
    assert counts["mqtt"] == {"pending": 0, "delivered": 0, "given_up": 0, "oldest": None, "problem": None}


def test_what_is_given_up_lets_the_next_one_pass(store: EventStore) -> None:
    outbox = Outbox(store.database)
    event = make_event(1)
    store.finish(ended(event))
    outbox.give_up(outbox.heads("hook")[0].number, "status 404")
    assert [one.phase for one in outbox.heads("hook")] == ["finish"]
    (hook, _) = outbox.counts(["hook", "file"])
    assert (hook["pending"], hook["given_up"]) == (1, 1)
    found = EventQueries(store.database).get(event.id)
    assert found is not None
    assert [(one["destination"], one["state"], one["problem"]) for one in found["deliveries"]] == [
        ("hook", "given_up", "status 404"),
        ("hook", "pending", None),
        ("file", "pending", None),
    ]


def test_destinations_that_are_no_longer_set(store: EventStore) -> None:
    outbox = Outbox(store.database)
    store.finish(ended(make_event(1)))
    assert outbox.drop_others(["file"]) == 2 and outbox.drop_others(["file"]) == 0
    assert outbox.heads("hook") == [] and len(outbox.heads("file")) == 1
