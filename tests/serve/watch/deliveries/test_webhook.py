import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from serve.watch.deliveries.destination import DeliveryFailed
from serve.watch.deliveries.outbox import Delivery
from serve.watch.deliveries.webhook import Webhook, parse_retry_after
from serve.watch.settings import Phase, WebhookSettings
from tests.support.webhook_server import WebhookServer

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DELIVERY = Delivery(1, "a" * 32, "begin", "yard", '{"id":"é"}', NOW, 0, NOW)


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    opened = WebhookServer()
    yield opened
    opened.close()


def post(url: str, **settings: Any) -> None:
    async def deliver() -> None:
        webhook = Webhook("phone", WebhookSettings(url, **settings))
        holder = asyncio.ensure_future(webhook.run(lambda: None))
        try:
            await webhook.deliver(DELIVERY)
        finally:
            holder.cancel()
            await asyncio.gather(holder, return_exceptions=True)

    asyncio.run(deliver())


def test_a_signed_post(server: WebhookServer) -> None:
    post(server.url, secret="0123456789abcdef", headers={"Authorization": "Bearer x"})
    (posted,) = server.posts
    assert json.loads(posted.body) == {"id": "é"} and posted.path.endswith("?token=of-the-address")
    assert posted.headers["content-type"] == "application/json" and posted.headers["authorization"] == "Bearer x"
    assert posted.headers["webhook-id"] == DELIVERY.id == "a" * 32 + "-begin"
    timestamp = posted.headers["webhook-timestamp"]
    assert abs(time.time() - int(timestamp)) < 100
    signed = f"{DELIVERY.id}.{timestamp}.".encode() + posted.body
    expected = base64.b64encode(hmac.new(b"0123456789abcdef", signed, hashlib.sha256).digest()).decode()
    assert posted.headers["webhook-signature"] == f"v1,{expected}"


def test_without_a_secret_there_is_no_signature(server: WebhookServer) -> None:
    post(server.url)
    assert "webhook-signature" not in server.posts[0].headers and "webhook-timestamp" in server.posts[0].headers


@pytest.mark.parametrize(
    ("status", "permanent"),
    [*((status, True) for status in (400, 401, 404, 410)), *((status, False) for status in (408, 425, 429, 500, 503))],
)
def test_statuses(server: WebhookServer, status: int, permanent: bool) -> None:
    server.answers = [(status, {"retry-after": "7"})]
    with pytest.raises(DeliveryFailed) as caught:
        post(server.url)
    assert (caught.value.permanent, caught.value.retry_after) == (permanent, 7.0)
    assert f"127.0.0.1: status {status}, expected 2xx" == caught.value.problem


def test_a_redirect_is_not_followed_and_tried_again(server: WebhookServer) -> None:
    server.answers = [(307, {"location": server.url})]
    with pytest.raises(DeliveryFailed) as caught:
        post(server.url)
    assert len(server.posts) == 1 and not caught.value.permanent


def test_a_server_that_is_away_or_silent() -> None:
    server = WebhookServer()
    server.close()
    with pytest.raises(DeliveryFailed) as caught:
        post(server.url)
    assert not caught.value.permanent and "ConnectError" in caught.value.problem
    assert "token" not in caught.value.problem


def test_its_route() -> None:
    route = Webhook("phone", WebhookSettings("http://127.0.0.1:9", phases=(Phase.FINISH,))).route
    assert route.destination == "webhook phone" and route.phases == (Phase.FINISH,)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 30, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, 1000.0) == seconds
