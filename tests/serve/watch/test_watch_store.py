import contextlib
import json
import logging
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.errors import SettingsError
from serve.watch import watch_store as module
from serve.watch.deliveries import courier
from serve.watch.deliveries.destination import RetryPace
from serve.watch.settings import RetentionSettings, WebhookSettings
from serve.watch.storage import database as database_module
from serve.watch.storage.database import DatabaseError
from serve.watch.storage.event_queries import EventFilter
from serve.watch.watch_store import WatchStore, open_watch_store
from tests.support.postgresql_server import running_postgresql
from tests.support.watch_events import ended, make_event, store_settings, wait_until, write_files
from tests.support.webhook_server import WebhookServer

QUICK = RetryPace(0.02, 0.05)
CAMERAS = {"yard": ["people"]}


@contextlib.contextmanager
def opened(folder: Path, **values: Any) -> Iterator[WatchStore]:
    store = open_watch_store(store_settings(folder, **values), CAMERAS, QUICK)
    try:
        yield store
    finally:
        store.close()


def numbers(store: WatchStore) -> list[int]:
    return [int(event["id"], 16) for event in store.queries.page(EventFilter()).events]


@pytest.mark.slow
def test_events_go_to_database_file_and_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "DRAIN_S", 60.0)
    server = WebhookServer()
    lines = tmp_path / "events.jsonl"
    with opened(tmp_path / "watch", webhooks={"a": WebhookSettings(server.url)}, json_lines=lines) as store:
        event = make_event(1)
        changes: list[int] = []
        end = store.listen(lambda: changes.append(store.queries.latest_change()))
        store.begin(event)
        store.update(event)
        end()
        end()
        store.finish(ended(event))
        assert changes == [1, 2] and numbers(store) == [1] and store.waiting == 0
        assert store.destinations == ("webhook a", "json_lines")
    assert [json.loads(post.body)["phase"] for post in server.posts] == ["begin", "finish"]
    assert [json.loads(line)["id"] for line in lines.read_text().splitlines()] == [event.id]
    server.close()


def test_a_start_repairs_what_a_dead_process_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path, json_lines=tmp_path / "events.jsonl") as store:
        store.begin(make_event(1))
    write_files(tmp_path, make_event(7))
    with caplog.at_level(logging.WARNING), opened(tmp_path) as store:
        found = store.queries.get(make_event(1).id)
        assert found is not None and found["interrupted"] and found["end"] is not None
        assert [one["state"] for one in found["deliveries"]] == []
    (line,) = (record for record in caplog.records if record.message == "repaired")
    assert line.fields["interrupted"] == 1 and line.fields["removed_files"] == 3  # type: ignore[attr-defined]


@pytest.mark.slow
def test_an_unknown_folder_with_files_and_a_new_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_files(tmp_path, make_event(7))
    with caplog.at_level(logging.WARNING), opened(tmp_path):
        assert "the database is new" in caplog.text
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be made"), opened(tmp_path / "file"):
        pass


def test_events_wait_for_a_locked_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "BUSY_S", 0.02)
    with opened(tmp_path) as store:
        other = sqlite3.connect(tmp_path / "watch.db")
        other.execute("BEGIN IMMEDIATE")
        for number in (1, 2):
            store.begin(make_event(number, number))
        assert store.waiting == 2 and "events wait for the database" in caplog.text
        other.rollback()
        other.close()
        store.finish(ended(make_event(1, 1)))
        assert store.waiting == 0 and numbers(store) == [2, 1]


@pytest.mark.slow
def test_events_wait_for_a_postgresql_server_that_is_started_again(tmp_path: Path) -> None:
    with running_postgresql() as server:
        address = server.address.replace("postgresql://", "postgresql+psycopg://")
        with opened(tmp_path, database=address, json_lines=tmp_path / "events.jsonl") as store:
            store.begin(make_event(1))
            server.stop()
            store.finish(ended(make_event(1)))
            store.begin(make_event(2, 1.0))
            assert store.waiting == 2
            server.start()
            store.update(make_event(2, 1.0))
            assert store.waiting == 0 and numbers(store) == [2, 1]
            wait_until(lambda: store.outbox.counts(["json_lines"])[0]["delivered"])
        assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 1


def test_the_housekeeper_writes_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_S", 0.02)
    monkeypatch.setattr(module, "HOUSEKEEPING_S", 0.05)
    with opened(tmp_path) as store:
        other = sqlite3.connect(tmp_path / "watch.db")
        other.execute("BEGIN IMMEDIATE")
        store.begin(make_event(1))
        other.rollback()
        other.close()
        wait_until(lambda: not store.waiting)
        assert numbers(store) == [1]


def test_memory_is_bounded_and_what_is_lost_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    with opened(tmp_path) as store:

        def away(*_: Any) -> bool:
            raise DatabaseError("away")

        monkeypatch.setattr(store, "_write_now", away)
        store.begin(make_event(1))
        store.begin(make_event(2))
    lost = [
        record.fields["state"]["id"] for record in caplog.records if record.message == "an event could not be stored"
    ]  # type: ignore[attr-defined]
    assert lost == [make_event(2).id, make_event(1).id]


def test_a_full_disk_costs_a_clip_and_not_the_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        files = write_files(tmp_path, make_event(1))
        store.finish(ended(make_event(1)))

        def begin(event: Any) -> bool:
            if files.clip.exists():
                raise DatabaseError("full", full=True)
            return True

        store._write_now(begin, make_event(2))
        assert not files.clip.exists() and files.snapshot.exists() and numbers(store) == [1]


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5000k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a file system of a fixed size cannot be mounted here")
    try:
        limits = RetentionSettings(days=None, free_gigabytes=0.0)
        with opened(disk, retention=limits) as store:
            for number in range(1, 5):
                write_files(disk, make_event(number, number), clip=500_000)
                store.finish(ended(make_event(number, number)))
            with contextlib.suppress(OSError), (disk / "of another program").open("wb", buffering=0) as file:
                while file.write(b"x" * 4096) == 4096:
                    pass
            for number in range(5, 60):
                store.finish(ended(make_event(number, number, label="x" * 150)))
            assert numbers(store) == list(range(59, 9, -1)) and store.waiting == 0
            states = [event["clip"] for event in store.queries.page(EventFilter(ids=(make_event(1).id,))).events]
            assert states == ["dropped"]
    finally:
        subprocess.run(["umount", disk], check=True)
        shutil.rmtree(disk)
