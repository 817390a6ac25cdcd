"""JSON log: one object a line, fields, exceptions, escaping."""

import json
import logging

import pytest

from serve.observability import json_logging
from serve.observability.json_logging import JsonFormatter, RepeatFilter, log


def lines(caplog: pytest.LogCaptureFixture) -> list[dict]:
    formatted = [JsonFormatter().format(record) for record in caplog.records]
    assert all("\n" not in line for line in formatted)
    return [json.loads(line) for line in formatted]


def test_a_line_has_time_level_event_and_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pelee.serve"):
        log(logging.INFO, "request", path="/a\r\nforged", status=200)
    (line,) = lines(caplog)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "event": "request", "path": "/a\r\nforged", "status": 200}


def test_an_exception_is_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ZeroDivisionError("x")
    except ZeroDivisionError as error:
        log(logging.ERROR, "bug", error)
    (line,) = lines(caplog)
    assert "ZeroDivisionError: x" in line["exception"] and line["level"] == "error"


def record(message: str, level: int = logging.ERROR, *args: object) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.error", level, "x.py", 1, message, args, None)


def test_a_condition_that_repeats_is_logged_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(json_logging.time, "monotonic", lambda: now[0])
    repeats = RepeatFilter()
    assert repeats.filter(record("out of descriptors\nsocket: <fd=1>"))
    assert not any(repeats.filter(record(f"out of descriptors\nsocket: <fd={fd}>")) for fd in range(500))
    assert repeats.filter(record("something else")) and repeats.filter(record("%s", logging.WARNING, "x"))
    assert all(repeats.filter(record("request", logging.INFO)) for _ in range(10))
    now[0] += 1.0
    later = record("out of descriptors")
    assert repeats.filter(later)
    assert json.loads(JsonFormatter().format(later))["repeated"] == 500
    now[0] += 1.0
    assert repeats.filter(record("out of descriptors"))


def test_kinds_do_not_accumulate() -> None:
    repeats = RepeatFilter()
    for number in range(3 * json_logging.MAX_KINDS):
        repeats.filter(record(f"kind {number}"))
    assert len(repeats._kinds) <= json_logging.MAX_KINDS
