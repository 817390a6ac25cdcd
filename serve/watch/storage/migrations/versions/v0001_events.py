"""First version: events, counter of changes, outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(20), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": "change", "value": 0}])
    op.create_table(
        "events",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("camera", sa.String(200), nullable=False),
        sa.Column("rule", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("track", sa.Integer, nullable=False),
        sa.Column("zone", sa.String(200)),
        sa.Column("direction", sa.String(3)),
        sa.Column("start", TIME, nullable=False),
        sa.Column("end", TIME),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("boxes", sa.JSON, nullable=False),
        sa.Column("phase", sa.String(10), nullable=False),
        sa.Column("interrupted", sa.Boolean, nullable=False),
        sa.Column("snapshot", sa.String(10), nullable=False),
        sa.Column("clip", sa.String(10), nullable=False),
        sa.Column("snapshot_bytes", sa.BigInteger, nullable=False),
        sa.Column("clip_bytes", sa.BigInteger, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False, unique=True),
    )
    op.create_index("events_by_start", "events", ["start", "id"])
    op.create_index("events_by_camera", "events", ["camera", "start"])
    op.create_index("events_by_rule", "events", ["rule", "start"])
    op.create_table(
        "deliveries",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("event", sa.String(32), sa.ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
        sa.Column("phase", sa.String(10), nullable=False),
        sa.Column("destination", sa.String(200), nullable=False),
        sa.Column("camera", sa.String(200), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt", TIME, nullable=False),
        sa.Column("ended", TIME),
        sa.Column("problem", sa.String(300)),
        sa.UniqueConstraint("event", "phase", "destination", name="one_delivery"),
        sqlite_autoincrement=True,
    )
    op.create_index("deliveries_by_state", "deliveries", ["destination", "state", "camera", "id"])
