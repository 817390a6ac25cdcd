"""Retention: removes old events, drops clips and snapshots above a size or on a full disk."""

import logging
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from detection.watch.event import EventFiles
from serve.observability.json_logging import log
from serve.watch.settings import Phase, RetentionSettings
from serve.watch.storage.database import Database
from serve.watch.storage.event_store import DeliveryState, FileState, event_of, next_change
from serve.watch.storage.tables import DELIVERIES, EVENTS

BATCH = 200  # events of one transaction
JUMP_S = 600.0  # s between two rounds by the clock of the day and not by the monotonic one: the clock was set
HOLD_S = 86_400.0  # s after such a jump in which no event counts as old
GIGABYTE = 1e9
ROOM = 4e6  # bytes that are made free for a write that has failed; the log of SQLite takes 1 MB
WITHOUT_BOXES = [column for column in EVENTS.c if column.name != "boxes"]


def free_bytes(folder: Path) -> int:
    """Free space of a folder's disk, bytes."""
    return shutil.disk_usage(folder).free


class Retention:
    """Limits of one watch. Its methods raise `DatabaseError`; a file that cannot be removed is logged."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        settings: RetentionSettings,
        free: Callable[[Path], int] = free_bytes,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up.

        Args:
            database: open.
            folder: of the events' files.
            settings: limits.
            free: returns the free space of the folder's disk, bytes.
            elapsed: returns seconds of a clock that nobody sets.
        """
        self.database = database
        self.folder = folder
        self.settings = settings
        self.free = free
        self._elapsed = elapsed
        self._offset: float | None = None  # s between the clock of the day and `elapsed`, at the last round
        self._held_until = float("-inf")  # by `elapsed`

    def expire(self, now: datetime) -> int:
        """Remove finished events whose end is older than their rule's days; returns their number.

        An event with a pending delivery stays until that is delivered or given up. After a jump of the clock none is
        removed for a day: a wrong date must not empty the store.
        """
        if self._clock_jumped(now):
            return 0
        removed = 0
        for rule in self._rules():
            if (days := self.settings.days_of(rule)) is not None:
                removed += self._expire_rule(rule, now - timedelta(days=days))
        return removed

    def limit_sizes(self) -> int:
        """Drop files until no rule's size, nor that of all, is above its limit; returns the bytes dropped."""
        dropped = 0
        for rule, limits in self.settings.rules.items():
            if limits.gigabytes is not None:
                dropped += self._limit(GIGABYTE * limits.gigabytes, EVENTS.c.rule == rule)
        if self.settings.gigabytes is not None:
            dropped += self._limit(GIGABYTE * self.settings.gigabytes, sa.true())
        return dropped

    def free_space(self) -> int:
        """Drop the oldest clips, then snapshots, until the disk has `free_gigabytes`; returns the bytes dropped."""
        try:
            missing = GIGABYTE * self.settings.free_gigabytes - self.free(self.folder)
        except OSError:
            return 0  # the folder is not there yet
        dropped = 0
        while missing > 0 and (size := self._drop(missing, sa.true())):
            dropped += size
            missing = GIGABYTE * self.settings.free_gigabytes - self.free(self.folder)
        if dropped:
            log(logging.WARNING, "disk almost full: oldest clips dropped", megabytes=round(dropped / 1e6))
        return dropped

    def make_room(self) -> int:
        """Drop `ROOM` bytes of the oldest clips, or else snapshots: a write has failed. Returns the bytes."""
        return self._drop(ROOM, sa.true())

    def almost_full(self) -> bool:
        """Whether the disk has less than `ROOM` bytes left: errors have many names then."""
        try:
            return self.free(self.folder) < ROOM
        except OSError:
            return False

    def _clock_jumped(self, now: datetime) -> bool:
        """Whether the clock of the day was set in the last day, as far as these rounds saw it."""
        elapsed = self._elapsed()
        before, self._offset = self._offset, now.timestamp() - elapsed
        if before is not None and abs(jump := self._offset - before) > JUMP_S:
            self._held_until = elapsed + HOLD_S
            log(
                logging.WARNING,
                "the clock jumped; no event is removed for a day, so that it can be set right",
                hours=round(jump / 3600, 1),
            )
        return elapsed < self._held_until

    def _rules(self) -> list[str]:
        with self.database.errors(), self.database.read() as connection:
            return list(connection.scalars(sa.select(EVENTS.c.rule).distinct()))

    def _expire_rule(self, rule: str, limit: datetime) -> int:
        pending = sa.exists().where(DELIVERIES.c.event == EVENTS.c.id, DELIVERIES.c.state == DeliveryState.PENDING)
        query = (
            sa.select(*WITHOUT_BOXES)
            .where(EVENTS.c.rule == rule, EVENTS.c.phase == Phase.FINISH, EVENTS.c.end < limit, ~pending)
            .limit(BATCH)
        )
        removed = 0
        while True:
            with self.database.errors(), self.database.write() as connection:
                rows = connection.execute(query).mappings().all()
                connection.execute(sa.delete(EVENTS).where(EVENTS.c.id.in_([row["id"] for row in rows])))
            for row in rows:  # after the commit: files without an event are repaired, and an event stays whole
                files = EventFiles.of(self.folder, event_of(row))
                for path in (files.snapshot, files.boxed_snapshot, files.clip):
                    _unlink(path)
                _remove_empty(files.clip.parent)
            removed += len(rows)
            if len(rows) < BATCH:
                return removed

    def _limit(self, limit: float, condition: sa.ColumnElement[bool]) -> int:
        total = sa.func.coalesce(sa.func.sum(EVENTS.c.clip_bytes + EVENTS.c.snapshot_bytes), 0)
        dropped = 0
        while True:
            with self.database.errors(), self.database.read() as connection:
                excess = float(connection.scalar(sa.select(total).where(condition)) or 0) - limit
            if excess <= 0 or not (size := self._drop(excess, condition)):
                return dropped
            dropped += size

    def _drop(self, wanted: float, condition: sa.ColumnElement[bool]) -> int:
        """Drop a batch of the oldest clips, or else snapshots, of at least `wanted` bytes; returns the bytes."""
        dropped = 0
        kind = "clip"
        rows = self._oldest(kind, condition)
        if not rows:
            kind = "snapshot"
            rows = self._oldest(kind, condition)
        chosen = []
        for row in rows:
            if dropped >= wanted:
                break
            files = EventFiles.of(self.folder, event_of(row))
            for path in (files.clip,) if kind == "clip" else (files.snapshot, files.boxed_snapshot):
                _unlink(path)
            chosen.append(row["id"])
            dropped += row[f"{kind}_bytes"]
        with self.database.errors(), self.database.write() as connection:
            for identity in chosen:
                values = {kind: FileState.DROPPED, f"{kind}_bytes": 0, "change": next_change(connection)}
                connection.execute(sa.update(EVENTS).where(EVENTS.c.id == identity).values(values))
        return dropped

    def _oldest(self, kind: str, condition: sa.ColumnElement[bool]) -> list[Any]:
        stored = (EVENTS.c[kind] == FileState.STORED) & (EVENTS.c.phase == Phase.FINISH)
        query = sa.select(*WITHOUT_BOXES).where(stored, condition).order_by(EVENTS.c.start).limit(BATCH)
        with self.database.errors(), self.database.read() as connection:
            return list(connection.execute(query).mappings().all())


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log(logging.ERROR, "a file cannot be removed", path=str(path), problem=error.strerror)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # it holds others
        return
