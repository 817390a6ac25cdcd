from pathlib import Path

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from serve.watch.storage.database import Database
from serve.watch.storage.migrations.versions import v0001_events


def test_the_first_version_by_itself(tmp_path: Path) -> None:
    """Later migrations change its tables; a database of this version must stay what it was."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/first.db")
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        v0001_events.upgrade()
        tables = {
            name: len(sa.inspect(connection).get_columns(name)) for name in sa.inspect(connection).get_table_names()
        }
        assert tables == {"counters": 2, "events": 21, "deliveries": 12}
        assert connection.exec_driver_sql("SELECT name, value FROM counters").all() == [("change", 0)]
    assert v0001_events.down_revision is None


def test_a_new_database_notes_its_version(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/watch.db")
    with database.read() as connection:
        assert MigrationContext.configure(connection).get_current_revision() is not None
    database.close()
