"""A server of archives."""

from collections.abc import Iterator

import pytest

from tests.support.archive_server import Server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()
    server.thread.join()
