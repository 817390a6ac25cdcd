"""Debian's PostgreSQL, started for a test as an unprivileged user."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

USER = "nobody"  # PostgreSQL refuses to run as root


def programs() -> Path | None:
    """Folder of PostgreSQL's programs; None where it is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running_postgresql() -> Iterator[str]:
    """Run a server with an empty database; yields its address. Skips the test where PostgreSQL is missing."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pelee-postgresql-"))  # pytest's own are not open to other users
    user = None
    if os.geteuid() == 0:
        user = USER
        shutil.chown(folder, USER, pwd.getpwnam(USER).pw_gid)
    data, port = folder / "data", free_port()

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run([bin_folder / program, *arguments], user=user, cwd=folder, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode()

    run("initdb", "-D", str(data), "-U", "pelee", "--auth=trust", "--no-sync", "--encoding=UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://pelee:a-password@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)
