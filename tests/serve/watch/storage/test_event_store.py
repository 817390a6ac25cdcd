import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from serve.watch.deliveries.outbox import Outbox
from serve.watch.settings import Phase
from serve.watch.storage.database import Database, DatabaseError
from serve.watch.storage.event_queries import EventQueries
from serve.watch.storage.event_store import DeliveryRoute, EventStore
from serve.watch.storage.tables import COUNTERS, DELIVERIES, EVENTS
from tests.support.postgresql_server import running_postgresql
from tests.support.watch_events import ended, make_event, write_files

ROUTES = [
    DeliveryRoute("hook", (Phase.BEGIN, Phase.FINISH)),
    DeliveryRoute("file", (Phase.FINISH,), boxes=True),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgresql() as running:
        yield running.address.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    address = f"sqlite:///{tmp_path}/watch.db"
    if request.param == "postgresql":
        address = request.getfixturevalue("server")
    opened = Database(address)
    yield opened
    with opened.write() as connection:
        connection.execute(sa.delete(EVENTS))
        connection.execute(sa.update(COUNTERS).values(value=0))
    opened.close()


def sent(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as connection:
        rows = connection.execute(sa.select(DELIVERIES).order_by(DELIVERIES.c.id)).mappings().all()
    return [(row["event"], row["destination"], row["phase"]) for row in rows]


def test_an_event_from_begin_to_end(database: Database, tmp_path: Path) -> None:
    store, queries = EventStore(database, tmp_path, ROUTES), EventQueries(database)
    event = make_event(1)
    assert store.begin(event) and not store.begin(event)
    found = queries.get(event.id)
    assert found is not None and found["phase"] == "begin" and found["end"] is None and found["change"] == 1
    write_files(tmp_path, event, clip=2000, snapshot=300)
    assert store.update(event)
    last = ended(event)
    assert store.finish(last) and not store.finish(last) and not store.update(event)
    found = queries.get(event.id)
    assert found is not None and found["phase"] == "finish" and found["change"] == 3
    assert (found["snapshot"], found["clip"]) == ("stored", "stored")
    assert {name: found[name] for name in last.to_json()} == last.to_json()
    assert queries.counts() == {"events": 1, "open": 0, "bytes": 2300}
    assert sent(database) == [(event.id, "hook", "begin"), (event.id, "hook", "finish"), (event.id, "file", "finish")]


def test_bodies_of_deliveries(database: Database, tmp_path: Path) -> None:
    store = EventStore(database, tmp_path, ROUTES)
    first, second = make_event(1), make_event(2, 1.0)
    for event in (first, second):
        store.begin(event)
    store.finish(ended(first))
    with database.read() as connection:
        bodies = [
            json.loads(text) for text in connection.scalars(sa.select(DELIVERIES.c.body).order_by(DELIVERIES.c.id))
        ]
    assert [body["id"] for body in bodies] == [f"{first.id}-begin", f"{second.id}-begin", *[f"{first.id}-finish"] * 2]
    assert [body["active"] for body in bodies] == [1, 2, 1, 1]
    assert "boxes" not in bodies[2]["event"] and len(bodies[3]["event"]["boxes"]) == 2
    assert bodies[2]["event"]["end"] == ended(first).to_json()["end"] and not bodies[2]["event"]["interrupted"]


def test_a_finish_without_a_begin_is_a_whole_event(database: Database, tmp_path: Path) -> None:
    """A state whose write failed may come late, and updates before the begin count as one."""
    store = EventStore(database, tmp_path, ROUTES)
    store.finish(ended(make_event(1)))
    store.update(make_event(2, 5.0))
    phases = [(event[-1:], destination, phase) for event, destination, phase in sent(database)]
    assert phases == [("1", "hook", "begin"), ("1", "hook", "finish"), ("1", "file", "finish"), ("2", "hook", "begin")]


def test_events_of_a_dead_process_are_finished_at_their_last_box(database: Database, tmp_path: Path) -> None:
    store, queries = EventStore(database, tmp_path, ROUTES), EventQueries(database)
    event = make_event(1)
    store.begin(event)
    store.update(ended(event, 9.0))
    store.finish(ended(make_event(2)))
    assert store.close_interrupted() == 1 and store.close_interrupted() == 0
    found = queries.get(event.id)
    assert found is not None and found["interrupted"] and found["end"] == ended(event, 9.0).to_json()["end"]
    assert (event.id, "hook", "finish") in sent(database)
    assert not store.finish(ended(event))


def test_event_and_deliveries_are_written_together_or_not_at_all(database: Database, tmp_path: Path) -> None:
    store = EventStore(database, tmp_path, [*ROUTES, DeliveryRoute("x" * 100, (Phase.BEGIN,)), ROUTES[0]])
    with pytest.raises(DatabaseError):  # two rows for one destination
        store.begin(make_event(1))
    assert sent(database) == []
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(EVENTS)) == 0


def test_deliveries_end_with_their_event(database: Database, tmp_path: Path) -> None:
    EventStore(database, tmp_path, ROUTES).begin(make_event(1))
    with database.write() as connection:
        connection.execute(sa.delete(EVENTS))
    assert sent(database) == [] and Outbox(database).heads("hook") == []
