"""Watch database: SQLite or PostgreSQL, opened, locked for one process, migrated; errors in one line."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from data.errors import PeleeError
from data.files.file_lock import try_lock
from serve.watch.storage.tables import COUNTERS

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_S = 5.0  # s that a statement waits for the lock of another connection
ADVISORY_LOCK = 7_065_108_101  # key of PostgreSQL's lock of a watch's database
READ_WRITE = {"read_write": True}


class DatabaseError(PeleeError):
    """A database that cannot be used: locked, read-only, damaged, of a newer version, or not reachable.

    Attributes:
        full: whether its disk is full.
    """

    def __init__(self, message: str, full: bool = False) -> None:
        """Take the message, one line."""
        super().__init__(message)
        self.full = full


class Database:
    """Open database, with the tables of this version.

    Attributes:
        engine: of SQLAlchemy.
        new: whether this call has created the tables.
    """

    def __init__(self, url: str) -> None:
        """Open the database, or create it.

        Args:
            url: of SQLAlchemy, sqlite with a file, or postgresql+psycopg.

        Raises:
            DatabaseError: in one line, without the password of the address.
        """
        self._lock: IO[str] | sa.Connection | None = None
        self._name = sa.make_url(url).render_as_string(hide_password=True).removeprefix("sqlite:///")
        self.engine = self._engine(url)
        try:
            with self.errors():
                self._take_lock()
                self.new = self._migrate()
        except BaseException:
            self.close()
            raise

    def read(self) -> AbstractContextManager[sa.Connection]:
        """Return a connection for one consistent view."""
        return self.engine.begin()

    def write(self) -> AbstractContextManager[sa.Connection]:
        """Return a connection whose changes are all committed at the end of the block, or none."""
        return self.engine.execution_options(**READ_WRITE).begin()

    def close(self) -> None:
        """Close all connections and release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self.engine.dispose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the database within the block into `DatabaseError`."""
        try:
            yield
        except SQLAlchemyError as error:
            problem, full = explain(error)
            raise DatabaseError(f"database {self._name}: {problem}", full) from None

    def _engine(self, url: str) -> sa.Engine:
        address = sa.make_url(url)
        if address.get_backend_name() != "sqlite":
            return sa.create_engine(address, pool_pre_ping=True, connect_args={"connect_timeout": 10})
        try:
            self._folder(address).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(f"database {self._name}: its folder cannot be made: {error.strerror}") from None
        engine = sa.create_engine(address, connect_args={"timeout": BUSY_S})
        sa.event.listen(engine, "connect", _set_pragmas)
        sa.event.listen(engine, "begin", _begin)
        return engine

    @staticmethod
    def _folder(address: sa.URL) -> Path:
        return Path(str(address.database).removeprefix("file:")).parent

    def _take_lock(self) -> None:
        """Take the lock that a watch holds while it runs: the outbox has one writer, and so an order."""
        taken = DatabaseError(
            f"database {self._name}: another pelee-watch uses it; stop that one, or choose another database"
        )
        if self.engine.dialect.name == "sqlite":
            self._lock = _lock_file(Path(str(self.engine.url.database).removeprefix("file:") + ".lock"), taken)
        else:
            self._lock = connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK))):
                raise taken

    def _migrate(self) -> bool:
        """Bring the tables to this version, in one transaction; returns whether there were none."""
        from alembic import command
        from alembic.config import Config
        from alembic.migration import MigrationContext
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.write() as connection:
            if self.engine.dialect.name == "sqlite":
                problem = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                if problem != "ok":
                    raise DatabaseError(f"database {self._name}: {_DAMAGED}")
            found = MigrationContext.configure(connection).get_current_revision()
            known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
            if found is not None and found not in known:
                raise DatabaseError(
                    f"database {self._name}: has version {found!r} of a newer pelee; update pelee, or choose another "
                    "database"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.execute(sa.update(COUNTERS).values(value=COUNTERS.c.value))  # fails here where it is read-only
        return found is None


_DAMAGED = "is damaged, or no SQLite database; restore a copy, or move it away and start with an empty one"
_LOCKED = "is locked by another program; close that program"
_FULL = "its disk is full; free space"
_PROBLEMS = {
    "locked": _LOCKED,
    "busy": _LOCKED,
    "readonly": "is read-only; make the file and its folder writable",
    "malformed": _DAMAGED,
    "not a database": _DAMAGED,
    "unable to open": "cannot be opened; check that its folder exists and is writable",
    "disk is full": _FULL,
    "no space left": _FULL,
}


def explain(error: SQLAlchemyError) -> tuple[str, bool]:
    """Return what is wrong, in one line, without a statement's values, and whether the disk is full."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    for part, meaning in _PROBLEMS.items():
        if part in text.lower():
            return meaning, meaning is _FULL
    return text[:200], False


def _set_pragmas(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # `_begin` begins transactions: sqlite3 would do so at the first change only
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={int(1000 * BUSY_S)}",
        "wal_autocheckpoint=250",  # pages: the log stays near 1 MB, on a disk that may be almost full
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    """Begin a transaction; one that will write takes the lock at once, since a later wait for it can fail at once."""
    write = connection.get_execution_options().get("read_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _lock_file(path: Path, taken: DatabaseError) -> IO[str]:
    """Lock a file until it is closed, or the process ends, however."""
    try:
        handle = path.open("a")
        locked = try_lock(handle)
    except OSError as error:
        raise DatabaseError(f"database: {path}: {error.strerror}; make its folder writable") from None
    if not locked:
        handle.close()
        raise taken
    return handle
