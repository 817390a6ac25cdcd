import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from serve.watch.storage import database as module
from serve.watch.storage.database import Database, DatabaseError
from serve.watch.storage.tables import COUNTERS, METADATA
from tests.support.postgresql_server import running_postgresql


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def assert_usable(address: str) -> None:
    database = Database(address)
    assert database.new
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    with database.write() as connection:
        connection.execute(sa.update(COUNTERS).values(value=7))
    with pytest.raises(DatabaseError, match="another pelee-watch uses it"):
        Database(address)
    database.close()
    again = Database(address)
    with again.read() as connection:
        assert connection.scalar(sa.select(COUNTERS.c.value)) == 7
    assert not again.new
    again.close()


def test_the_migrations_give_the_tables_in_sqlite(tmp_path: Path) -> None:
    assert_usable(url(tmp_path / "sub" / "watch.db"))


@pytest.mark.slow
def test_the_migrations_give_the_tables_in_postgresql() -> None:
    with running_postgresql() as server:
        assert_usable(server.address.replace("postgresql://", "postgresql+psycopg://"))


def test_pragmas_of_sqlite(tmp_path: Path) -> None:
    database = Database(url(tmp_path / "watch.db"))
    names = ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
    with database.read() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
    assert found == ["wal", 1, 2, 5000]
    database.close()


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "watch.db"
    Database(url(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseError, match="has version '9999' of a newer pelee; update pelee"):
        Database(url(path))


def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "watch.db"
    path.write_bytes(b"no database at all" * 500)
    with pytest.raises(DatabaseError, match=r"watch\.db: is damaged, or no SQLite database"):
        Database(url(path))
    path.unlink()
    Database(url(path)).close()
    content = bytearray(path.read_bytes())
    content[len(content) // 3 :] = b"\xa5" * (len(content) - len(content) // 3)
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match="is damaged"):
        Database(url(path))


def test_a_read_only_database(tmp_path: Path) -> None:
    path = tmp_path / "watch.db"
    Database(url(path)).close()
    with pytest.raises(DatabaseError, match="is read-only; make the file and its folder writable"):
        Database(f"sqlite:///file:{path}?mode=ro&uri=true")


def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "watch.db"
    Database(url(path)).close()
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match=r"is locked by another program; close that program$"):
        Database(url(path))
    other.close()
    Database(url(path)).close()  # the failure has left no lock


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match="its folder cannot be made"):
        Database(url(tmp_path / "file" / "watch.db"))


@pytest.mark.slow
def test_a_server_that_is_away_and_no_password_in_the_message() -> None:
    with pytest.raises(DatabaseError) as caught:
        Database("postgresql+psycopg://me:a-password@127.0.0.1:9/pelee")
    message = str(caught.value)
    assert "refused" in message and "\n" not in message and "a-password" not in message


def test_a_writer_waits_for_the_other(tmp_path: Path) -> None:
    """Both read before they write: without a lock at the begin, one of them would fail."""
    database = Database(url(tmp_path / "watch.db"))

    def count() -> None:
        for _ in range(20):
            with database.write() as connection:
                value = connection.scalar(sa.select(COUNTERS.c.value))
                connection.execute(sa.update(COUNTERS).values(value=value + 1))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.scalar(sa.select(COUNTERS.c.value)) == 60
    database.close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = Database(url(tmp_path / "watch.db"))
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(sa.update(COUNTERS).values(value=3))
        raise ZeroDivisionError
    with database.read() as connection:
        assert connection.scalar(sa.select(COUNTERS.c.value)) == 0
    database.close()
