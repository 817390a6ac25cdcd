from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from data.errors import SettingsError
from detection.watch.event import EventKind
from serve.watch.storage.database import Database
from serve.watch.storage.event_queries import EventFilter, EventQueries, parse_cursor
from serve.watch.storage.event_store import EventStore
from tests.support.watch_events import START, ended, make_event

EVENTS: list[dict[str, Any]] = [
    {"camera": "yard", "label": "person", "zone": "gate", "rule": "people"},
    {"camera": "yard", "label": "car", "zone": None, "rule": "cars", "kind": EventKind.APPEARED},
    {"camera": "road", "label": "person", "zone": "kerb", "rule": "people", "kind": EventKind.CROSSED},
    {"camera": "road", "label": "car", "zone": "kerb", "rule": "cars"},
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    database = Database(f"sqlite:///{tmp_path}/watch.db")
    store = EventStore(database, tmp_path)
    for number, values in enumerate(EVENTS):
        event = make_event(number + 1, seconds=10.0 * number, **values)
        store.begin(event)
        if number:
            store.finish(ended(event))
    yield store
    database.close()


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        (EventFilter(), [4, 3, 2, 1]),
        (EventFilter(camera=("yard",)), [2, 1]),
        (EventFilter(camera=("yard", "road"), label=("car",)), [4, 2]),
        (EventFilter(zone=("kerb",)), [4, 3]),
        (EventFilter(rule=("people",)), [3, 1]),
        (EventFilter(kind=("crossed", "appeared")), [3, 2]),
        (EventFilter(after=START + timedelta(seconds=10), before=START + timedelta(seconds=30)), [3, 2]),
        (EventFilter(open=True), [1]),
        (EventFilter(open=False), [4, 3, 2]),
        (EventFilter(ids=(f"{2:032x}", f"{9:032x}")), [2]),
        (EventFilter(camera=("attic",)), []),
    ],
)
def test_filters(store: EventStore, chosen: EventFilter, numbers: list[int]) -> None:
    page = EventQueries(store.database).page(chosen)
    assert [int(event["id"], 16) for event in page.events] == numbers and page.next is None


def test_pages_neither_repeat_nor_omit_while_events_arrive(store: EventStore) -> None:
    queries = EventQueries(store.database)
    for number in range(10, 17):  # of one moment
        store.finish(ended(make_event(number, seconds=100.0)))
    expected = [event["id"] for event in queries.page(EventFilter()).events]
    found, cursor = [], None
    for turn in range(10):
        page = queries.page(EventFilter(), cursor, 3)
        found += [event["id"] for event in page.events]
        store.begin(make_event(100 + turn, seconds=1000.0 + turn))
        if (cursor := page.next) is None:
            break
    assert found == expected and len(found) == 11


@pytest.mark.parametrize(
    "text", ["", "x", "2026-03-01T22:14:05Z_" + "0" * 32, "2026-13-01T22:14:05.000000Z_" + "0" * 32]
)
def test_a_cursor_that_no_page_had(text: str) -> None:
    with pytest.raises(SettingsError, match="is no cursor; expected `next` of the page before"):
        parse_cursor(text)


def test_changes_are_the_latest_states_in_their_order(store: EventStore) -> None:
    queries = EventQueries(store.database)
    assert queries.latest_change() == 7
    assert [int(event["id"], 16) for event in queries.changes(0)] == [1, 2, 3, 4]
    store.update(make_event(1))
    assert [(int(event["id"], 16), event["change"]) for event in queries.changes(5)] == [(4, 7), (1, 8)]
    assert queries.changes(8) == [] and [event["change"] for event in queries.changes(0, 1)] == [3]


def test_a_list_has_no_boxes_and_an_event_has_them(store: EventStore) -> None:
    queries = EventQueries(store.database)
    assert "boxes" not in queries.page(EventFilter()).events[0]
    found = queries.get(f"{2:032x}")
    assert found is not None and len(found["boxes"]) == 2 and found["deliveries"] == []
    assert queries.get("f" * 32) is None
