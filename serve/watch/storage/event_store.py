"""Event store: writes events with the rows of their deliveries in one transaction, idempotent by the event's id."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from detection.watch.event import Event, EventFiles, iso_time
from serve.watch.settings import Phase
from serve.watch.storage.database import Database
from serve.watch.storage.tables import COUNTERS, DELIVERIES, EVENTS

UPDATE = "update"  # phase of an event between its begin and its end


class FileState(StrEnum):
    """State of an event's snapshot or clip."""

    NONE = "none"  # the event never had it
    STORED = "stored"
    DROPPED = "dropped"  # by retention
    MISSING = "missing"  # removed by others


class DeliveryState(StrEnum):
    """State of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class DeliveryRoute:
    """Destination as the store needs it.

    Attributes:
        destination: its name.
        phases: which phases it gets.
        boxes: whether it gets the boxes over time.
    """

    destination: str
    phases: tuple[Phase, ...]
    boxes: bool = False


@dataclass(frozen=True, slots=True)
class StoredFile:
    """File of an event: its state and its size in bytes; 0 where it is not stored."""

    state: FileState
    size: int


class EventStore:
    """Events in the database. Safe from several threads, one of which calls `begin`, `update` and `finish`."""

    def __init__(self, database: Database, folder: Path, routes: Sequence[DeliveryRoute] = ()) -> None:
        """Use a database.

        Args:
            database: open.
            folder: of the events' files.
            routes: the destinations of each event.
        """
        self.database = database
        self.folder = folder
        self.routes = tuple(routes)

    def begin(self, event: Event) -> bool:
        """Write a new event; as `finish`. Returns whether something changed."""
        return self._write(event, Phase.BEGIN)

    def update(self, event: Event) -> bool:
        """Write a later state of an event; as `finish`."""
        return self._write(event, UPDATE)

    def finish(self, event: Event) -> bool:
        """Write the last state of an event. An event that has it already stays as it is.

        Raises:
            DatabaseError: nothing is written.
        """
        return self._write(event, Phase.FINISH)

    def close_interrupted(self) -> int:
        """Finish the events whose process died before their end, at their last box; returns their number."""
        query = sa.select(EVENTS).where(EVENTS.c.phase != Phase.FINISH).order_by(EVENTS.c.change)
        with self.database.errors(), self.database.write() as connection:
            rows = connection.execute(query).mappings().all()
            for row in rows:
                event = event_of(row)
                end = event.end or (event.boxes[-1].time if event.boxes else event.start)
                event = Event.from_json(event.to_json() | {"end": iso_time(max(end, event.start))})
                self._write_phase(connection, event, Phase.FINISH, row["phase"], interrupted=True)
        return len(rows)

    def _write(self, event: Event, phase: str) -> bool:
        with self.database.errors(), self.database.write() as connection:
            latest = connection.scalar(sa.select(EVENTS.c.phase).where(EVENTS.c.id == event.id))
            if latest == Phase.FINISH or (latest is not None and phase == Phase.BEGIN):
                return False
            self._write_phase(connection, event, phase, latest)
        return True

    def _write_phase(
        self, connection: sa.Connection, event: Event, phase: str, latest: str | None, interrupted: bool = False
    ) -> None:
        values = _columns(event) | self._files(event, phase) | {"phase": phase, "interrupted": interrupted}
        values["change"] = next_change(connection)
        if latest is None:
            connection.execute(sa.insert(EVENTS).values(values))
        else:
            connection.execute(sa.update(EVENTS).where(EVENTS.c.id == event.id).values(values))
        due = ([Phase.BEGIN] if latest is None else []) + ([Phase.FINISH] if phase == Phase.FINISH else [])
        for one in due:
            self._add_deliveries(connection, event, one, interrupted)

    def _add_deliveries(self, connection: sa.Connection, event: Event, phase: Phase, interrupted: bool) -> None:
        now = datetime.now(UTC)
        same_rule = (EVENTS.c.camera == event.camera) & (EVENTS.c.rule == event.rule)
        query = sa.select(sa.func.count()).select_from(EVENTS).where(same_rule, EVENTS.c.phase != Phase.FINISH)
        active = connection.scalar(query)
        for route in self.routes:
            if phase not in route.phases:
                continue
            values = event.to_json() | {"interrupted": interrupted}
            if not route.boxes:
                del values["boxes"]
            body = {"id": f"{event.id}-{phase}", "phase": phase, "active": active, "event": values}
            row = {
                "event": event.id,
                "phase": phase,
                "destination": route.destination,
                "camera": event.camera,
                "state": DeliveryState.PENDING,
                "body": json.dumps(body, ensure_ascii=False, separators=(",", ":")),
                "created": now,
                "attempts": 0,
                "next_attempt": now,
            }
            connection.execute(sa.insert(DELIVERIES).values(row))

    def _files(self, event: Event, phase: str) -> dict[str, Any]:
        """Columns of an event's files, from the disk."""
        snapshot, clip = files_on_disk(self.folder, event)
        columns: dict[str, Any] = {"snapshot": snapshot.state, "snapshot_bytes": snapshot.size}
        if phase == Phase.FINISH:
            return columns | {"clip": clip.state, "clip_bytes": clip.size}
        return columns | {"clip": FileState.NONE, "clip_bytes": 0}


def next_change(connection: sa.Connection) -> int:
    """Number of a new change, greater than all before; until the transaction ends, no other one gets a number."""
    value = COUNTERS.c.value + 1
    query = sa.update(COUNTERS).where(COUNTERS.c.name == "change").values(value=value).returning(COUNTERS.c.value)
    return int(connection.execute(query).scalar_one())


def event_of(row: Any) -> Event:
    """Event of a row of the table; a row without boxes gives an event without them."""
    times = {"start": iso_time(row["start"]), "end": None if row["end"] is None else iso_time(row["end"])}
    return Event.from_json({"boxes": [], **row, **times})


def files_on_disk(folder: Path, event: Event) -> tuple[StoredFile, StoredFile]:
    """Snapshot, of both files together, and clip of an event as they are on the disk."""
    files = EventFiles.of(folder, event)
    return _stored([files.snapshot, files.boxed_snapshot]), _stored([files.clip])


def _stored(paths: Iterable[Path]) -> StoredFile:
    size = 0
    for path in paths:
        try:
            size += path.stat().st_size
        except OSError:
            continue
    return StoredFile(FileState.STORED if size else FileState.NONE, size)


def _columns(event: Event) -> dict[str, Any]:
    return event.to_json() | {"start": event.start, "end": event.end}
