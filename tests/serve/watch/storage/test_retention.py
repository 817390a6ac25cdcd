import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from detection.watch.event import EventFiles
from serve.watch.deliveries.outbox import Outbox
from serve.watch.settings import Phase, RetentionSettings, RuleRetention
from serve.watch.storage import retention as module
from serve.watch.storage.database import Database
from serve.watch.storage.event_queries import EventFilter, EventQueries
from serve.watch.storage.event_store import DeliveryRoute, EventStore
from serve.watch.storage.retention import Retention
from tests.support.watch_events import START, ended, make_event, write_files

DAY = 86_400.0


class Events:
    """Finished events, the first the oldest, with clips of 1000 bytes and snapshots of 100."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(f"sqlite:///{folder}/watch.db")
        self.store = EventStore(self.database, folder, [DeliveryRoute("hook", (Phase.FINISH,))])

    def add(self, number: int, seconds: float, **values: Any) -> EventFiles:
        event = make_event(number, seconds, **values)
        files = write_files(self.folder, event)
        self.store.finish(ended(event))
        return files

    def deliver(self) -> None:
        outbox = Outbox(self.database)
        while heads := outbox.heads("hook"):
            for one in heads:
                outbox.delivered(one.number)

    def retention(self, free: float = 1e15, **limits: Any) -> Retention:
        return Retention(self.database, self.folder, RetentionSettings(**limits), lambda folder: int(free))

    def states(self) -> dict[int, tuple[str, str]]:
        page = EventQueries(self.database).page(EventFilter(), None, 500)
        return {int(event["id"], 16): (event["snapshot"], event["clip"]) for event in page.events}

    def files(self) -> set[str]:
        return {path.name for path in self.folder.rglob("*") if path.is_file() and "watch.db" not in path.name}


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    made = Events(tmp_path)
    yield made
    made.database.close()


def test_old_events_end_with_their_files_by_the_days_of_their_rule(events: Events) -> None:
    for number in range(1, 5):
        events.add(number, DAY * number, rule="people" if number % 2 else "cars")
    events.deliver()
    limits = {"days": 1.5, "rules": {"people": RuleRetention(days=3.5)}}
    assert events.retention(**limits).expire(START + timedelta(days=4.2)) == 1
    assert set(events.states()) == {1, 3, 4}
    assert events.retention(**limits).expire(START + timedelta(days=5.0)) == 1
    assert set(events.states()) == {3, 4} and len(events.files()) == 6
    assert len(list((events.folder / "yard").iterdir())) == 2  # no empty folders
    assert events.retention(days=None).expire(START + timedelta(days=9000)) == 0


def test_a_clock_that_jumps_removes_nothing_for_a_day(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward by years and back again; the date of the machine counts once it has stayed."""
    lines: list[str] = []
    monkeypatch.setattr(module, "log", lambda level, text, **values: lines.append(text))
    for number in range(1, 4):
        events.add(number, number)
    events.deliver()
    hours = 0.0
    retention = Retention(
        events.database, events.folder, RetentionSettings(days=30), lambda folder: 1 << 60, lambda: 3600 * hours
    )
    steady = START + timedelta(days=1)
    assert retention.expire(steady) == 0
    for hours, jump in ((0.1, 9000.0), (1.0, 9000.0), (2.0, 0.0), (25.9, 9000.0), (49.8, 9000.0)):
        assert retention.expire(steady + timedelta(days=jump, hours=hours)) == 0
    assert len(events.states()) == 3
    assert lines == 3 * ["the clock jumped; no event is removed for a day, so that it can be set right"]
    hours = 50.0
    assert retention.expire(steady + timedelta(days=9000, hours=hours)) == 3


def test_neither_open_events_nor_undelivered_ones_are_removed(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    for number in range(1, 6):
        events.add(number, number)
    events.store.begin(make_event(9))
    later = START + timedelta(days=100)
    assert events.retention(days=1).expire(later) == 0 and len(events.states()) == 6
    events.deliver()
    assert events.retention(days=1).expire(later) == 5 and set(events.states()) == {9}


def test_above_a_size_the_oldest_clips_are_dropped_first_then_snapshots(events: Events) -> None:
    for number in range(1, 5):
        events.add(number, number)
    assert events.retention(gigabytes=4400e-9).limit_sizes() == 0
    assert events.retention(gigabytes=2500e-9).limit_sizes() == 2000
    kept, gone = ("stored", "stored"), ("stored", "dropped")
    assert events.states() == {1: gone, 2: gone, 3: kept, 4: kept}
    assert events.retention(gigabytes=250e-9).limit_sizes() == 2200
    assert events.states() == {1: ("dropped", "dropped"), 2: ("dropped", "dropped"), 3: gone, 4: gone}
    assert len(events.files()) == 4 and EventQueries(events.database).counts()["bytes"] == 200


def test_the_size_of_a_rule_concerns_its_files_only(events: Events) -> None:
    events.add(1, 1.0, rule="cars")
    events.add(2, 2.0, rule="people")
    events.add(3, 3.0, rule="people")
    assert events.retention(rules={"people": RuleRetention(gigabytes=1200e-9)}).limit_sizes() == 1000
    assert [clip for _, clip in events.states().values()] == ["stored", "dropped", "stored"]  # newest first


def test_a_full_disk_drops_clips_and_never_an_event(events: Events) -> None:
    for number in range(1, 5):
        events.add(number, number)
    used = sum(path.stat().st_size for path in events.folder.rglob("*.mp4"))

    def free(folder: Path) -> int:
        """Space of a disk of 5000 bytes, of which the clips are a part."""
        return 5000 - sum(path.stat().st_size for path in folder.rglob("*.mp4"))

    assert used == 4000
    retention = events.retention(free_gigabytes=3000e-9)
    retention.free = free
    assert retention.free_space() == 2000 and retention.free_space() == 0
    assert sorted(events.states()) == [1, 2, 3, 4]
    assert [clip for _, clip in events.states().values()] == ["stored", "stored", "dropped", "dropped"]
    retention.settings = dataclasses.replace(retention.settings, free_gigabytes=1.0)
    retention.free_space()  # nothing helps: all files are dropped, and it ends
    assert set(events.states().values()) == {("dropped", "dropped")} and events.files() == set()


def test_room_for_a_write_that_failed(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM", 900)
    first, second = events.add(1, 1.0), events.add(2, 2.0)
    assert events.retention().make_room() == 1000
    assert not first.clip.exists() and second.clip.exists() and first.snapshot.exists()
    assert events.retention(free=800).almost_full() and not events.retention(free=1000).almost_full()


def test_a_dropped_clip_is_a_change(events: Events) -> None:
    events.add(1, 1.0)
    before = EventQueries(events.database).latest_change()
    events.retention(free=0).free_space()
    (changed,) = EventQueries(events.database).changes(before)
    assert changed["clip"] == "dropped"


def test_a_folder_that_is_not_there_yet(events: Events) -> None:
    retention = events.retention()
    retention.folder, retention.free = Path("/no/such/folder"), module.free_bytes
    assert retention.free_space() == 0 and module.free_bytes(events.folder) > 0
