import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.watch.api import event_stream as module
from serve.watch.api.event_stream import change_stream
from serve.watch.storage.database import DatabaseError
from serve.watch.watch_store import WatchStore, open_watch_store
from tests.support.watch_events import ended, make_event, store_settings, wait_until
from tests.support.watch_server import WatchApi, running_api


class Reader:
    """Client of /events/stream in a thread; `found`: (id, phase, number of the event) of each."""

    def __init__(self, api: WatchApi, headers: dict[str, str] | None = None, query: str = "") -> None:
        self.found: list[tuple[int, str, int]] = []
        self.opened = threading.Event()
        self._api, self._headers, self._query = api, headers or {}, query
        self._end = threading.Event()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        assert self.opened.wait(30)

    def _read(self) -> None:
        values: dict[str, str] = {}
        url = f"{self._api.address}/events/stream{self._query}"
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.stream("GET", url, headers=self._headers, timeout=30) as response,
        ):
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                self.opened.set()
                if self._end.is_set():
                    return
                name, _, value = line.partition(": ")
                if line:
                    values[name] = value
                elif "data" in values:
                    number = int(json.loads(values["data"])["id"], 16)
                    self.found.append((int(values["id"]), values["event"], number))
                    values = {}

    def leave(self) -> None:
        """Close the connection at the next line."""
        self._end.set()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[WatchApi]:
    with running_api(tmp_path, max_websockets=2) as running:
        yield running


@pytest.mark.slow
def test_changes_come_as_they_happen_and_the_end_of_the_server_ends_streams(tmp_path: Path) -> None:
    with running_api(tmp_path) as api:
        api.store.begin(make_event(1))
        reader = Reader(api)
        api.store.begin(make_event(2))
        wait_until(lambda: len(reader.found) == 1)
        api.store.update(make_event(1))
        api.store.finish(ended(make_event(2)))
        wait_until(lambda: len(reader.found) >= 3)
    reader.thread.join(10)
    assert not reader.thread.is_alive()
    assert reader.found == [(2, "begin", 2), (3, "update", 1), (4, "finish", 2)]


@pytest.mark.slow
def test_a_client_that_comes_back_gets_what_it_missed(api: WatchApi) -> None:
    for number in (1, 2, 3):
        api.store.begin(make_event(number))
    api.store.finish(ended(make_event(1)))
    browser = Reader(api, {"last-event-id": "1"})
    wait_until(lambda: len(browser.found) == 3)
    assert browser.found == [(2, "begin", 2), (3, "begin", 3), (4, "finish", 1)]
    program = Reader(api, query="?after=3")
    wait_until(lambda: program.found == [(4, "finish", 1)])
    for reader in (browser, program):
        reader.leave()


@pytest.mark.slow
def test_a_number_of_another_database_begins_now(api: WatchApi) -> None:
    api.store.begin(make_event(1))
    reader = Reader(api, {"last-event-id": "900"})
    api.store.begin(make_event(2))
    wait_until(lambda: reader.found == [(2, "begin", 2)])
    response = api.client.get("/events/stream", headers={"last-event-id": "yesterday"})
    assert response.status_code == 422 and "is no number of a change" in response.json()["message"]
    reader.leave()


@pytest.mark.slow
def test_streams_are_bounded_and_give_their_place_back(api: WatchApi) -> None:
    readers = [Reader(api), Reader(api)]
    response = api.client.get("/events/stream")
    assert (response.status_code, response.json()["code"]) == (429, "busy")
    readers[0].leave()
    api.store.begin(make_event(1))
    readers[0].thread.join(20)

    def free() -> bool:
        with api.client.stream("GET", "/events/stream") as response:
            return response.status_code == 200

    wait_until(free)
    for _ in range(5):  # a client that leaves before the first part gives its place back, too
        with api.client.stream("GET", "/events/stream"):
            pass
    wait_until(free)
    readers[1].leave()


def collect(store: WatchStore, parts: int) -> list[bytes]:
    async def read() -> list[bytes]:
        found: list[bytes] = []
        async for part in change_stream(store, 0, lambda: len(found) >= parts):
            found.append(part)
        return found

    return asyncio.run(read())


def test_silence_is_broken_by_pings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING_S", 0.02)
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    store = open_watch_store(store_settings(tmp_path), {})
    assert collect(store, 3)[1:] == [b": ping\n\n"] * 2

    def away(*_: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(store.queries, "changes", away)
    assert len(collect(store, 3)) == 1
    store.close()
