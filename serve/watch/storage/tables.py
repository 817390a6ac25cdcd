"""Tables of the watch database. A change here needs a new migration (`serve.watch.storage.migrations`)."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class UtcTime(TypeDecorator[datetime]):
    """Aware time in UTC, with microseconds; SQLite has no time zones and stores it without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a value on its way to the database; ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone; expected an aware datetime")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert a value from the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


METADATA = MetaData()
NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER keys only

EVENTS = Table(
    "events",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("camera", String(200), nullable=False),
    Column("rule", String(200), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("label", String(200), nullable=False),
    Column("track", Integer, nullable=False),
    Column("zone", String(200)),
    Column("direction", String(3)),
    Column("start", UtcTime, nullable=False),
    Column("end", UtcTime),
    Column("score", Float, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("boxes", JSON, nullable=False),
    Column("phase", String(10), nullable=False),  # begin, update, finish: its latest
    Column("interrupted", Boolean, nullable=False),  # whether the process died before its end
    Column("snapshot", String(10), nullable=False),  # FileState
    Column("clip", String(10), nullable=False),
    Column("snapshot_bytes", BigInteger, nullable=False),
    Column("clip_bytes", BigInteger, nullable=False),
    Column("change", BigInteger, nullable=False, unique=True),  # number of its latest change, among all events
    Index("events_by_start", "start", "id"),
    Index("events_by_camera", "camera", "start"),
    Index("events_by_rule", "rule", "start"),
)

#: One row, `name` "change": number of the latest change of an event. Not the maximum of `events`: events are removed.
COUNTERS = Table(
    "counters",
    METADATA,
    Column("name", String(20), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

#: Outbox: one row for each event, phase and destination, in the order of delivery.
DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("event", String(32), ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    Column("phase", String(10), nullable=False),
    Column("destination", String(200), nullable=False),
    Column("camera", String(200), nullable=False),
    Column("state", String(10), nullable=False),  # DeliveryState
    Column("body", Text, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt", UtcTime, nullable=False),
    Column("ended", UtcTime),
    Column("problem", String(300)),
    UniqueConstraint("event", "phase", "destination", name="one_delivery"),
    Index("deliveries_by_state", "destination", "state", "camera", "id"),
    sqlite_autoincrement=True,
)
