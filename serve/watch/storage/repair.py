"""Repair at start: files without an event are removed, events without their files are marked."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from serve.watch.settings import Phase
from serve.watch.storage.database import Database
from serve.watch.storage.event_store import FileState, event_of, files_on_disk, next_change
from serve.watch.storage.retention import WITHOUT_BOXES
from serve.watch.storage.tables import EVENTS

DATE = re.compile(r"\d{4}-\d\d-\d\d")
#: Names of `EventFiles`, and of their temporary files (`data.atomic_files`), which a dead process leaves.
EVENT_FILE = re.compile(r"([0-9a-f]{32})(-boxes)?\.(jpg|mp4)|\.([0-9a-f]{32})\.[a-z0-9_]{8}\.(jpg|mp4)")
BATCH = 500


@dataclass(frozen=True, slots=True)
class RepairReport:
    """Result of a repair.

    Attributes:
        removed: files without an event that were removed.
        kept: files without an event that were left: the database is new, and perhaps the wrong one.
        marked: events whose state of files has changed.
    """

    removed: int = 0
    kept: int = 0
    marked: int = 0


def repair(database: Database, folder: Path) -> RepairReport:
    """Make folder and events agree; before the first event of a run.

    Only files with names of this program are removed, in `<folder>/<camera>/<date>/`. With a database that was new at
    this start none is: a database that was moved away, or a wrong address, must not cost the clips.

    Raises:
        DatabaseError: see `Database`.
    """
    removed = kept = 0
    for day in _days(folder):
        files = [(path, found) for path in day.iterdir() if (found := EVENT_FILE.fullmatch(path.name))]
        known = _known(database, {found[1] for _, found in files if found[1]})
        for path, found in files:
            if found[1] in known:
                continue
            if database.new:
                kept += 1
            elif _removed(path):
                removed += 1
    return RepairReport(removed, kept, _mark(database, folder))


def _days(folder: Path) -> Iterator[Path]:
    """Folders of the days of all cameras; links are not followed."""
    for camera in _folders(folder):
        yield from (day for day in _folders(camera) if DATE.fullmatch(day.name))


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _known(database: Database, ids: set[str]) -> set[str]:
    known: set[str] = set()
    todo = sorted(ids)
    with database.errors(), database.read() as connection:
        for begin in range(0, len(todo), BATCH):
            known |= set(connection.scalars(sa.select(EVENTS.c.id).where(EVENTS.c.id.in_(todo[begin : begin + BATCH]))))
    return known


def _mark(database: Database, folder: Path) -> int:
    """Write the state of the files of all finished events that should have some; returns the number of changes."""
    present = (FileState.STORED, FileState.MISSING)
    having = EVENTS.c.snapshot.in_(present) | EVENTS.c.clip.in_(present)
    query = sa.select(*WITHOUT_BOXES).where(having, EVENTS.c.phase == Phase.FINISH)
    marked = 0
    with database.errors(), database.write() as connection:
        for row in connection.execute(query).mappings().all():
            values: dict[str, object] = {}
            for kind, stored in zip(("snapshot", "clip"), files_on_disk(folder, event_of(row)), strict=True):
                state = FileState.STORED if stored.size else FileState.MISSING
                if row[kind] in present and row[kind] != state:
                    values |= {kind: state, f"{kind}_bytes": stored.size}
            if values:
                values["change"] = next_change(connection)
                connection.execute(sa.update(EVENTS).where(EVENTS.c.id == row["id"]).values(values))
                marked += 1
    return marked


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
