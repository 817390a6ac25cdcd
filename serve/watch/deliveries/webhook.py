"""Webhook: posts events as JSON, signed after the Standard Webhooks specification (standardwebhooks.com, 1.0)."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from serve.watch.deliveries.destination import DeliveryFailed, forever
from serve.watch.deliveries.outbox import Delivery
from serve.watch.settings import WebhookSettings, signing_key
from serve.watch.storage.event_store import DeliveryRoute

#: Responses 4xx after which a delivery is tried again; all others of 4xx give it up.
RETRIED = (408, 425, 429)


class Webhook:
    """Address that events are posted to; a response 2xx is a delivery. Redirects are not followed."""

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        """Set up; nothing is opened."""
        self.settings = settings
        self.route = DeliveryRoute(f"webhook {name}", settings.phases)
        self.give_up_s = 3600 * settings.give_up_hours
        self._key = None if settings.secret is None else signing_key(settings.secret)
        self._host = urlsplit(settings.url).hostname  # for messages: the address may contain a token
        self._client: httpx.AsyncClient | None = None

    async def run(self, ready: Callable[[], None]) -> None:
        """Close the connections when it is cancelled."""
        try:
            await forever()
        finally:
            if self._client is not None:
                await self._client.aclose()

    async def deliver(self, delivery: Delivery) -> None:
        """Post once; raises `DeliveryFailed`."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self.settings.timeout_s)
        content = delivery.body.encode()
        headers = self.settings.headers | {
            "content-type": "application/json",
            "user-agent": "pelee-watch",
            **signed_headers(self._key, delivery.id, content, int(time.time())),
        }
        try:
            async with self._client.stream("POST", self.settings.url, content=content, headers=headers) as response:
                pass  # the body is of no interest, however long
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryFailed(f"{self._host}: {type(error).__name__} {error}".strip()) from None
        if response.is_success:
            return
        status = response.status_code
        raise DeliveryFailed(
            f"{self._host}: status {status}, expected 2xx",
            permanent=400 <= status < 500 and status not in RETRIED,
            retry_after=parse_retry_after(response.headers.get("retry-after"), time.time()),
        )


def signed_headers(key: bytes | None, identity: str, content: bytes, timestamp: int) -> dict[str, str]:
    """Headers webhook-id, webhook-timestamp (Unix time, s) and, with a key, webhook-signature.

    The signature is "v1," and the base64 of HMAC-SHA256 over id, ".", timestamp, "." and body.
    """
    headers = {"webhook-id": identity, "webhook-timestamp": str(timestamp)}
    if key is not None:
        digest = hmac.digest(key, f"{identity}.{timestamp}.".encode() + content, hashlib.sha256)
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    return headers


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header: a number, or a date in relation to the Unix time `now`; None for others."""
    if value is None:
        return None
    if value.strip().isdecimal() and len(value) < 10:
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
    except (TypeError, ValueError):
        return None
