"""Error responses: status, body, headers."""

import json

import pytest

from serve.errors import CODES, STATUS, ServiceError


def test_an_error_has_its_status_body_and_headers() -> None:
    error = ServiceError("busy", "ask again", 3)
    assert (error.status, error.headers()) == (429, {"retry-after": "3"})
    assert json.loads(error.content("id")) == {"code": "busy", "message": "ask again", "request_id": "id"}
    assert ServiceError("empty", "x").headers() == {}


def test_codes_have_statuses_of_errors() -> None:
    assert all(400 <= status < 600 for status in STATUS.values())
    assert all(STATUS[code] == status for status, code in CODES.items())
    with pytest.raises(KeyError):
        _ = ServiceError("nonsense", "").status
