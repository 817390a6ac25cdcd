"""ASGI middleware: request id, security headers, access log, metrics, catch-all error handler."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serve.errors import ClientDisconnected, ServiceError
from serve.observability.json_logging import log
from serve.observability.metrics import Metrics
from serve.web.request_body import Message, Receive
from serve.web.security import HEADERS, request_id

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
LINGER_S, LINGER_BYTES = 2.0, 64_000_000  # limits of reading on after an early response
CLIENT_CLOSED_REQUEST = 499  # as nginx logs it: the client disconnected before the response


class RequestMiddleware:
    """Outermost ASGI middleware, inside Starlette's own."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        """Wrap an application."""
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request, WebSocket or lifespan."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        identity = request_id(None if given is None else given.decode("latin-1"))
        scope.setdefault("state", {})["request_id"] = identity
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await RequestCycle(self, scope, receive, send, headers, identity).run()


class RequestCycle:
    """One HTTP request and its response.

    Attributes:
        status: of the response; 0 before it has started.
        unread: whether bytes of the request body are still to come.
    """

    def __init__(
        self,
        owner: RequestMiddleware,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: dict[bytes, bytes],
        identity: str,
    ) -> None:
        self.owner = owner
        self.scope = scope
        self._receive = receive
        self._send = send
        self.headers = headers
        self.identity = identity
        self.status = 0
        self.unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers

    async def run(self) -> None:
        start = time.monotonic()
        try:
            await self.owner.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            self.status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            log(logging.ERROR, "bug", error, request_id=self.identity, path=self.scope["path"])
            if self.status == 0:
                await self._respond(ServiceError("internal_error", "something is wrong here; the log has more"))
        finally:
            self._record(time.monotonic() - start)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = list(message.get("headers", []))
            names = {name.lower() for name, _ in own}
            own += [(name, value) for name, value in HEADERS.items() if name not in names]
            message = {**message, "headers": [*own, (b"x-request-id", self.identity.encode())]}
        elif not message.get("more_body", False) and self.unread and self._closes():
            # The connection is closed after this response. Closing while the client still sends would make its system
            # discard the response. So send the response first, and read on for a while.
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _closes(self) -> bool:
        connection = self.headers.get(b"connection", b"").lower()
        return b"close" in connection or (self.scope["http_version"] == "1.0" and b"keep-alive" not in connection)

    async def _linger(self) -> None:
        left = LINGER_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while self.unread and left > 0:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        return
                    left -= len(message.get("body", b""))

    async def _respond(self, error: ServiceError) -> None:
        content = error.content(self.identity)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})

    def _record(self, seconds: float) -> None:
        route = self.scope.get("route")
        endpoint = getattr(route, "path", "other")
        model = self.scope["state"].get("model", "")
        self.owner.metrics.requests.labels(endpoint, model, str(self.status)).inc()
        self.owner.metrics.seconds.labels(endpoint).observe(seconds)
        quiet = endpoint in ("/healthz", "/readyz", "/metrics")
        log(
            logging.DEBUG if quiet else logging.INFO,
            "request",
            request_id=self.identity,
            method=self.scope["method"],
            path=self.scope["path"][:200],
            status=self.status,
            ms=round(1000 * seconds, 1),
            client=self.scope["client"][0] if self.scope.get("client") else None,
            **({"model": model} if model else {}),
        )
