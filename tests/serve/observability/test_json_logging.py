"""JSON log: one object a line, fields, exceptions, escaping."""

import json
import logging

import pytest

from serve.observability.json_logging import JsonFormatter, log


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
