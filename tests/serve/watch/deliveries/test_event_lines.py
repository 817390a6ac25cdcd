import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serve.watch.deliveries import event_lines as module
from serve.watch.deliveries.destination import DeliveryFailed
from serve.watch.deliveries.event_lines import EventLines, repair_lines
from serve.watch.deliveries.outbox import Delivery
from tests.support.watch_events import ended, make_event

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def delivery(number: int) -> Delivery:
    event = ended(make_event(number, label="Bär"))
    body = json.dumps({"id": f"{event.id}-finish", "event": event.to_json()})
    return Delivery(number, event.id, "finish", "yard", body, NOW, 0, NOW)


def write(lines: EventLines, *numbers: int) -> None:
    async def deliver() -> None:
        await asyncio.gather(*(lines.deliver(delivery(number)) for number in numbers))

    asyncio.run(deliver())


def ids(path: Path) -> list[int]:
    return [int(json.loads(line)["id"], 16) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_for_each_event_written_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    lines = EventLines(path)
    write(lines, *range(1, 20))
    write(lines, 3)
    write(EventLines(path), 4, 20)  # a new process, after a delivery that was not recorded
    assert sorted(ids(path)) == list(range(1, 21))
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[-1]) == ended(make_event(20, label="Bär")).to_json()


def test_a_line_that_was_cut_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(EventLines(path), 1)
    write(EventLines(path), 2)
    os.truncate(path, path.stat().st_size - 10)
    write(EventLines(path), 2)
    assert ids(path) == [1, 2] and path.read_bytes().endswith(b"}\n")


def test_lines_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"not json\n[1]\n\xff\n" + b'{"id": "a"}\n')
    assert repair_lines(path) == {"a"} and repair_lines(tmp_path / "none") == set()
    write(EventLines(path), 1)
    assert path.read_bytes().startswith(b"not json\n[1]\n\xff\n")


def test_only_the_tail_of_a_long_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps({"id": str(number)}) + "\n" for number in range(100)))
    monkeypatch.setattr(module, "TAIL", 40)
    assert repair_lines(path) == {"97", "98", "99"}


def test_the_file_may_be_renamed_by_logrotate(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = EventLines(path)
    write(lines, 1)
    path.rename(tmp_path / "events.jsonl.1")
    write(lines, 2)
    assert ids(path) == [2]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DeliveryFailed) as caught:
        write(EventLines(tmp_path), 1)
    assert caught.value.problem == f"{tmp_path}: Is a directory" and not caught.value.permanent


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    lines = EventLines(path)
    write(lines, 1)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(DeliveryFailed) as caught:
        write(lines, 2)
    assert "No space left" in caught.value.problem and path.read_bytes() == before
    monkeypatch.undo()
    write(lines, 2)
    assert ids(path) == [1, 2]
