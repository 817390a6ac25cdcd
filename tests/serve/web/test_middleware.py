"""ASGI middleware: request id, headers, errors, metrics, reading on after an early response."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from serve.errors import ClientDisconnected
from serve.observability.metrics import Metrics
from serve.web.middleware import CLIENT_CLOSED_REQUEST, RequestMiddleware

OK = {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"no-cache")]}


def call(
    app: Any,
    headers: dict[str, str] | None = None,
    messages: list[dict[str, Any]] | None = None,
    draining: Callable[[], bool] = lambda: False,
    path: str = "/x",
    root_path: str = "",
) -> tuple[list[dict[str, Any]], Metrics]:
    """Call the middleware around an application; returns the messages sent, and its metrics."""
    metrics, sent = Metrics(), []
    pending = list(messages or [{"type": "http.request", "body": b"", "more_body": False}])
    scope = {
        "type": "http", "method": "POST", "path": path, "http_version": "1.1", "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return pending.pop(0) if pending else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(RequestMiddleware(app, metrics, draining, root_path=root_path)(scope, receive, send))
    return sent, metrics


def count(metrics: Metrics, status: int) -> float:
    labels = {"endpoint": "other", "model": "", "status": str(status)}
    return metrics.registry.get_sample_value("pelee_requests_total", labels) or 0


async def respond(scope: Any, receive: Any, send: Any) -> None:
    await send(OK)
    await send({"type": "http.response.body", "body": b"x"})


def test_a_response_gets_its_id_and_the_security_headers_that_it_lacks() -> None:
    sent, metrics = call(respond, {"x-request-id": "trace-1"})
    headers = dict(sent[0]["headers"])
    assert headers[b"x-request-id"] == b"trace-1" and headers[b"x-content-type-options"] == b"nosniff"
    assert [value for name, value in sent[0]["headers"] if name == b"cache-control"] == [b"no-cache"]
    assert count(metrics, 200) == 1


def test_a_bug_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    sent, metrics = call(fail)
    assert sent[0]["status"] == 500 and b"internal_error" in sent[1]["body"] and b"Zero" not in sent[1]["body"]
    assert count(metrics, 500) == 1
    assert any(record.exc_info for record in caplog.records)


def test_a_disconnect_gets_no_response() -> None:
    async def leave(scope: Any, receive: Any, send: Any) -> None:
        raise ClientDisconnected

    sent, metrics = call(leave)
    assert sent == [] and count(metrics, CLIENT_CLOSED_REQUEST) == 1


@pytest.mark.parametrize(
    ("root", "path", "seen"),
    [
        ("", "/detect/", "/detect"),
        ("", "/detect", "/detect"),
        ("", "/", "/"),
        ("", "//", "/"),
        ("/pelee", "/pelee/", "/pelee/"),
        ("/pelee", "/pelee/detect/", "/pelee/detect"),
    ],
)
def test_a_slash_at_the_end_of_a_path_is_ignored(root: str, path: str, seen: str) -> None:
    paths: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await respond(scope, receive, send)

    call(app, path=path, root_path=root)
    assert paths == [seen]


def test_a_response_of_a_stopping_server_closes_the_connection() -> None:
    sent, _ = call(respond, draining=lambda: True)
    assert (b"connection", b"close") in sent[0]["headers"]
    assert (b"connection", b"close") not in call(respond)[0][0]["headers"]


def test_a_closing_client_that_still_sends_is_read_before_the_end() -> None:
    body = [{"type": "http.request", "body": b"x" * 10, "more_body": index < 2} for index in range(3)]
    sent, _ = call(respond, {"content-length": "30", "connection": "close"}, body)
    assert [message.get("more_body") for message in sent[1:]] == [True, False]
    assert [message["body"] for message in sent[1:]] == [b"x", b""] and body[2]["more_body"] is False
