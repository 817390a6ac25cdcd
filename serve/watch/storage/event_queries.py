"""Event queries: filters, pages with a cursor, single events, changes since a number."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from data.errors import SettingsError
from detection.watch.event import iso_time, parse_time
from serve.watch.settings import Phase
from serve.watch.storage.database import Database
from serve.watch.storage.tables import COUNTERS, DELIVERIES, EVENTS

LARGEST_PAGE = 500
CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)_([0-9a-f]{32})")
#: Columns of an event in a list: all but the boxes, which can be hundreds.
LISTED = [column for column in EVENTS.c if column.name not in ("boxes", "snapshot_bytes", "clip_bytes")]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Filter of events; an empty tuple or None lets everything pass.

    Attributes:
        camera, label, zone, rule, kind: names, of which one must match.
        after, before: aware times between which an event starts; `before` itself is not included.
        open: whether the event still lasts.
        ids: ids of the events.
    """

    camera: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    zone: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    open: bool | None = None
    ids: tuple[str, ...] = ()

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return conditions on the table of events, all of which must hold."""
        found: list[sa.ColumnElement[bool]] = []
        for name in ("camera", "label", "zone", "rule", "kind"):
            if names := getattr(self, name):
                found.append(EVENTS.c[name].in_(names))
        if self.after is not None:
            found.append(EVENTS.c.start >= self.after)
        if self.before is not None:
            found.append(EVENTS.c.start < self.before)
        if self.open is not None:
            found.append(EVENTS.c.end.is_(None) if self.open else EVENTS.c.end.is_not(None))
        if self.ids:
            found.append(EVENTS.c.id.in_(self.ids))
        return found


@dataclass(frozen=True, slots=True)
class EventPage:
    """Page of events, newest start first.

    Attributes:
        events: as `to_listed` makes them.
        next: cursor of the next page; None after the last.
    """

    events: list[dict[str, Any]]
    next: str | None


class EventQueries:
    """Queries of one database; safe from several threads. All raise `DatabaseError`."""

    def __init__(self, database: Database) -> None:
        """Use an open database."""
        self.database = database

    def page(self, chosen: EventFilter, cursor: str | None = None, limit: int = 50) -> EventPage:
        """Return a page of the events that pass a filter.

        Pages do not shift while events arrive or are removed.

        Args:
            chosen: filter.
            cursor: `next` of the page before; None for the first.
            limit: number of events, 1 to `LARGEST_PAGE`.

        Raises:
            SettingsError: a cursor that no page had.
        """
        query = sa.select(*LISTED).where(*chosen.conditions())
        if cursor is not None:
            start, identity = parse_cursor(cursor)
            older = (EVENTS.c.start < start) | ((EVENTS.c.start == start) & (EVENTS.c.id < identity))
            query = query.where(older)
        query = query.order_by(EVENTS.c.start.desc(), EVENTS.c.id.desc()).limit(limit + 1)
        with self.database.errors(), self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        last = rows[limit - 1] if len(rows) > limit else None
        return EventPage(
            [to_listed(row) for row in rows[:limit]],
            None if last is None else f"{iso_time(last['start'])}_{last['id']}",
        )

    def get(self, identity: str) -> dict[str, Any] | None:
        """Return an event with its boxes and its deliveries; None where there is none of this id."""
        deliveries = (
            sa.select(DELIVERIES).where(DELIVERIES.c.event == identity).order_by(DELIVERIES.c.id)
        )  # fmt: skip
        with self.database.errors(), self.database.read() as connection:
            row = connection.execute(sa.select(EVENTS).where(EVENTS.c.id == identity)).mappings().first()
            if row is None:
                return None
            sent = connection.execute(deliveries).mappings().all()
        return to_listed(row) | {"boxes": row["boxes"], "deliveries": [_to_delivery(one) for one in sent]}

    def changes(self, after: int, limit: int = 100) -> list[dict[str, Any]]:
        """Return events whose latest change has a number greater than `after`, in the order of the changes."""
        query = sa.select(*LISTED).where(EVENTS.c.change > after).order_by(EVENTS.c.change).limit(limit)
        with self.database.errors(), self.database.read() as connection:
            return [to_listed(row) for row in connection.execute(query).mappings()]

    def latest_change(self) -> int:
        """Return the number of the latest change; 0 before the first."""
        with self.database.errors(), self.database.read() as connection:
            return int(connection.scalar(sa.select(COUNTERS.c.value).where(COUNTERS.c.name == "change")) or 0)

    def counts(self) -> dict[str, int]:
        """Return the numbers of events, of those that last, and of the bytes of their files."""
        lasting = sa.func.count().filter(EVENTS.c.phase != Phase.FINISH)
        size = sa.func.coalesce(sa.func.sum(EVENTS.c.snapshot_bytes + EVENTS.c.clip_bytes), 0)
        with self.database.errors(), self.database.read() as connection:
            events, open_events, total = connection.execute(sa.select(sa.func.count(), lasting, size)).one()
        return {"events": int(events), "open": int(open_events), "bytes": int(total)}


def parse_cursor(text: str) -> tuple[datetime, str]:
    """Parse a cursor: start and id of a page's last event; SettingsError for any other text."""
    found = CURSOR.fullmatch(text)
    try:
        if found is not None:
            return parse_time(found[1]), found[2]
    except ValueError:
        pass
    raise SettingsError("is no cursor; expected `next` of the page before")


def to_listed(row: sa.RowMapping) -> dict[str, Any]:
    """Return a row of `LISTED` as plain values for JSON, in the order of the columns."""
    values = {column.name: row[column.name] for column in LISTED}
    return values | {"start": iso_time(row["start"]), "end": None if row["end"] is None else iso_time(row["end"])}


def _to_delivery(row: sa.RowMapping) -> dict[str, Any]:
    names = ("destination", "phase", "state", "attempts", "problem")
    ended = None if row["ended"] is None else iso_time(row["ended"])
    return {name: row[name] for name in names} | {"created": iso_time(row["created"]), "ended": ended}
