"""Limit of file descriptors: raised to the hard bound; connections stay below it."""

import json
import os
import socket
import subprocess
import sys

import httpx
import pytest

from data.errors import SettingsError
from serve.web import descriptors
from serve.web.descriptors import connection_limit
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")

SLOW_SERVER = ROOT / "tests" / "support" / "slow_server_process.py"


def test_connections_leave_descriptors_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "_open_descriptors", lambda: 40)
    for limit, expected in ((None, 2000), (20_000, 2000), (1024, 1024 - 40 - 256), (256, 256 - 40 - 85)):
        monkeypatch.setattr(descriptors, "_descriptor_limit", lambda limit=limit: limit)
        assert connection_limit(2000) == expected
    assert connection_limit(5) == 5


def test_too_few_descriptors_are_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "_open_descriptors", lambda: 40)
    monkeypatch.setattr(descriptors, "_descriptor_limit", lambda: 64)
    with pytest.raises(SettingsError, match=r"^the process may open 64 files, .*ulimit -n"):
        connection_limit(2000)


def test_the_limit_is_raised_to_its_hard_bound() -> None:
    code = (
        "import resource; from serve.web.descriptors import raise_descriptor_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 700)); raise_descriptor_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "(700, 700)", done.stderr


@pytest.mark.slow
def test_more_idle_connections_than_descriptors_delay_no_client() -> None:
    """Under `ulimit -n 512`: a new client gets a response at once, and the log stays short."""
    command = f'ulimit -n 512; exec "{sys.executable}" "{SLOW_SERVER}" 0 --port 0'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(["bash", "-c", command], **options) as server:
        held: list[socket.socket] = []
        try:
            assert server.stdout is not None
            address = next(word for word in server.stdout.readline().split() if word.startswith("http://")).rstrip(";")
            host, port = address.removeprefix("http://").split(":")
            for _ in range(600):
                held.append(socket.create_connection((host, int(port)), timeout=60))
            response = httpx.get(f"{address}/models", timeout=60)
            assert response.status_code == 503 and response.headers["retry-after"] == "1"
            assert httpx.get(f"{address}/healthz", timeout=60).status_code == 200
        finally:
            for connection in held:
                connection.close()
            server.terminate()
            _, errors = server.communicate(timeout=60)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert server.returncode == 0 and len(lines) < 10
    assert not [line for line in lines if line["level"] == "error"]
    assert [line["limit"] for line in lines if "limit of open files" in line["event"]]
