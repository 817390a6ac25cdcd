from collections.abc import Iterator
from pathlib import Path

import pytest

from detection.watch.event import EventFiles
from serve.watch.storage.database import Database
from serve.watch.storage.event_queries import EventQueries
from serve.watch.storage.event_store import EventStore
from serve.watch.storage.repair import RepairReport, repair
from tests.support.watch_events import ended, make_event, write_files

ORPHAN = make_event(99)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Of an earlier run, with two events that have their files."""
    address = f"sqlite:///{tmp_path}/watch.db"
    first = Database(address)
    store = EventStore(first, tmp_path)
    for number in (1, 2):
        write_files(tmp_path, make_event(number))
        store.finish(ended(make_event(number)))
    first.close()
    opened = Database(address)
    yield opened
    opened.close()


def test_files_without_an_event_are_removed_and_all_others_stay(database: Database, tmp_path: Path) -> None:
    orphans = write_files(tmp_path, ORPHAN)
    day = orphans.clip.parent
    temporary = day / f".{ORPHAN.id}.ab_cd012.mp4"  # of `atomic_path`, by a process that was killed
    others = [
        day / "holiday.mp4",
        day / f"{ORPHAN.id}.txt",
        day / f"{ORPHAN.id.upper().replace('0', 'A')}.mp4",
        day / f"{ORPHAN.id}-copy.mp4",
        day.parent / f"{ORPHAN.id}.mp4",
        tmp_path / f"{ORPHAN.id}.mp4",
        tmp_path / "yard" / "2026-3-1" / f"{ORPHAN.id}.mp4",
        tmp_path / "outside" / f"{ORPHAN.id}.jpg",
    ]
    for path in (temporary, *others):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "yard" / "2026-03-02").symlink_to(tmp_path / "outside")
    assert repair(database, tmp_path) == RepairReport(removed=4)
    assert not temporary.exists() and not any(path.exists() for path in (orphans.clip, orphans.snapshot))
    assert not orphans.boxed_snapshot.exists()
    assert all(path.exists() for path in others)
    assert all(path.exists() for path in paths(tmp_path, 1)) and repair(database, tmp_path) == RepairReport()


def test_a_new_database_costs_no_files(tmp_path: Path) -> None:
    files = write_files(tmp_path, ORPHAN)
    database = Database(f"sqlite:///{tmp_path}/other.db")
    assert repair(database, tmp_path) == RepairReport(kept=3) and files.clip.exists()
    database.close()


def paths(folder: Path, number: int) -> tuple[Path, Path, Path]:
    files = EventFiles.of(folder, make_event(number))
    return files.snapshot, files.boxed_snapshot, files.clip


def test_events_without_files_are_marked_and_healed(database: Database, tmp_path: Path) -> None:
    queries = EventQueries(database)
    snapshot, boxed, clip = paths(tmp_path, 1)
    content = clip.read_bytes()
    clip.unlink()
    assert repair(database, tmp_path) == RepairReport(marked=1)
    found = queries.get(make_event(1).id)
    assert found is not None and (found["snapshot"], found["clip"]) == ("stored", "missing")
    assert queries.counts()["bytes"] == 1200
    snapshot.unlink()
    boxed.unlink()
    clip.write_bytes(content)
    assert repair(database, tmp_path) == RepairReport(marked=1)
    found = queries.get(make_event(1).id)
    assert found is not None and (found["snapshot"], found["clip"]) == ("missing", "stored")
    assert queries.counts()["bytes"] == 2100


def test_a_folder_that_is_not_there(database: Database, tmp_path: Path) -> None:
    """Such as a disk that is not mounted: everything is marked, and nothing is lost."""
    assert repair(database, tmp_path / "none") == RepairReport(marked=2)
    assert repair(database, tmp_path) == RepairReport(marked=2)
