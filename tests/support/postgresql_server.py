"""Debian's PostgreSQL, started for a test as an unprivileged user."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port

USER = "nobody"  # PostgreSQL refuses to run as root


def programs() -> Path | None:
    """Folder of PostgreSQL's programs; None where it is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


class PostgresqlServer:
    """Server with an empty database.

    Attributes:
        address: of the database.
    """

    def __init__(self, bin_folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pelee-postgresql-"))  # pytest's own are not open to other users
        self._programs = bin_folder
        self._user = USER if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self.folder, USER, pwd.getpwnam(USER).pw_gid)
        self._port = free_port()
        self.address = f"postgresql://pelee:a-password@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "-U", "pelee", "--auth=trust", "--no-sync", "--encoding=UTF8")

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(
            command, user=self._user, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert done.returncode == 0, done.stderr.decode()


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """Run a server. Skips the test where PostgreSQL is missing."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    server = PostgresqlServer(bin_folder)
    try:
        server.start()
        yield server
    finally:
        with contextlib.suppress(AssertionError):  # a test has stopped it
            server.stop()
        shutil.rmtree(server.folder)
