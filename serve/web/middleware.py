"""ASGI middleware: request id, host check, security headers, access log, metrics, catch-all error handler."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from serve.errors import ClientDisconnected, ServiceError
from serve.observability.json_logging import log
from serve.observability.metrics import Metrics
from serve.web.request_body import Message, Receive
from serve.web.security import HEADERS, check_host, request_id

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
LINGER_S, LINGER_BYTES = 2.0, 64_000_000  # limits of reading on after an early response
HEALTH = ("/healthz", "/readyz")  # answered under any name, for the checks of proxies and orchestrators
CLIENT_CLOSED_REQUEST = 499  # as nginx logs it: the client disconnected before the response


class RequestMiddleware:
    """Outermost ASGI middleware, inside Starlette's own."""

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        draining: Callable[[], bool] = lambda: False,
        hosts: frozenset[str] | None = None,
        root_path: str = "",
    ) -> None:
        """Wrap an application.

        Args:
            app: the application.
            metrics: its metrics.
            draining: returns whether the server is stopping; each connection then ends with its response.
            hosts: names under which the service answers beside localhost; None for any, see `security.allowed_hosts`.
            root_path: path below which a reverse proxy publishes the service; requests come with it or without.
        """
        self.app = app
        self.metrics = metrics
        self.draining = draining
        self.hosts = hosts
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request, WebSocket or lifespan."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        identity = request_id(None if given is None else given.decode("latin-1"))
        scope.setdefault("state", {})["request_id"] = identity
        scope["root_path"] = self.root_path
        _strip_slash(scope)
        if scope["type"] == "websocket":
            await Handshake(self, scope, receive, send, headers, identity).run()
        else:
            await RequestCycle(self, scope, receive, send, headers, identity).run()

    def check_host(self, headers: dict[bytes, bytes]) -> None:
        """Raise `ServiceError` if a request names a host under which the service does not answer."""
        host = headers.get(b"host")
        check_host(None if host is None else host.decode("latin-1"), self.hosts)


def _strip_slash(scope: Scope) -> None:
    """Serve `/detect/` as `/detect`. A redirect would name another scheme, port or path than a reverse proxy's."""
    path = scope["path"]
    if path.endswith("/") and path.removeprefix(scope["root_path"]) != "/":
        scope["path"] = path.rstrip("/") or "/"


@dataclass(eq=False)
class Connection:
    """One HTTP request or WebSocket handshake: its middleware, ASGI scope and channels, headers and request id."""

    owner: RequestMiddleware
    scope: Scope
    _receive: Receive
    _send: Send
    headers: dict[bytes, bytes]
    identity: str


@dataclass(eq=False)
class Handshake(Connection):
    """Opening handshake of a WebSocket; refusals of the application have the format of all errors."""

    answered: bool = field(default=False, init=False)

    async def run(self) -> None:
        try:
            self.owner.check_host(self.headers)
        except ServiceError as error:
            await self._deny(error)
        else:
            await self.owner.app(self.scope, self._receive, self.send)

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.close" and not self.answered:
            await self._deny(ServiceError("not_found", "there is no WebSocket at this path; see /openapi.json"))
            return
        self.answered = True
        if message["type"] == "websocket.http.response.start":
            own = [(name, value) for name, value in message["headers"] if name != b"x-request-id"]
            headers = [*own, *HEADERS.items(), (b"x-request-id", self.identity.encode())]
            message = {**message, "headers": headers}
        await self._send(message)

    async def _deny(self, error: ServiceError) -> None:
        self.owner.metrics.requests.labels("other", "", str(error.status)).inc()
        content = error.content(self.identity)
        headers = _error_headers(error, content)
        await self.send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "websocket.http.response.body", "body": content})


@dataclass(eq=False)
class RequestCycle(Connection):
    """One HTTP request and its response.

    Attributes:
        status: of the response; 0 before it has started.
        unread: whether bytes of the request body are still to come.
        closes: whether the connection ends with this response.
    """

    status: int = field(default=0, init=False)
    unread: bool = field(init=False)
    closes: bool = field(init=False)

    def __post_init__(self) -> None:
        self.unread = self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers
        connection = self.headers.get(b"connection", b"").lower()
        http_1_0 = self.scope["http_version"] == "1.0"
        self.closes = b"close" in connection or (http_1_0 and b"keep-alive" not in connection)

    async def run(self) -> None:
        start = time.monotonic()
        try:
            self._check()
            await self.owner.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            self.status = CLIENT_CLOSED_REQUEST
        except ServiceError as error:  # of `_check`; those of the application are its responses
            await self._respond(error)
        except asyncio.CancelledError:  # the grace time is over: uvicorn cancels what still runs
            if not self.owner.draining():
                raise
            if self.status == 0:
                await self._respond(ServiceError("draining", "the server has stopped; ask another, or again later", 5))
        except Exception as error:
            log(logging.ERROR, "bug", error, request_id=self.identity, path=self.scope["path"])
            if self.status == 0:
                await self._respond(ServiceError("internal_error", "something is wrong here; the log has more"))
        finally:
            self._record(time.monotonic() - start)

    def _check(self) -> None:
        """Raise `ServiceError` if the application must not see the request."""
        ambiguous = b"content-length" in self.headers or self.scope["http_version"] == "1.0"
        if b"transfer-encoding" in self.headers and ambiguous:
            # Proxies disagree on the end of such a body: what follows it may be a smuggled request (RFC 9112, 6.1).
            self.closes = True
            raise ServiceError("bad_request", "Transfer-Encoding with Content-Length or HTTP/1.0; send one length only")
        if self.scope["path"].removeprefix(self.scope["root_path"]) not in HEALTH:
            self.owner.check_host(self.headers)

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
            self.closes = self.closes or self.owner.draining()
            if self.closes:
                own.append((b"connection", b"close"))
            message = {**message, "headers": [*own, (b"x-request-id", self.identity.encode())]}
        elif not message.get("more_body", False) and self.unread and self.closes:
            # The connection is closed after this response. Closing while the client still sends would make its system
            # discard the response. So send the response first, and read on for a while.
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

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
        await self.send(
            {"type": "http.response.start", "status": error.status, "headers": _error_headers(error, content)}
        )
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


def _error_headers(error: ServiceError, content: bytes) -> list[tuple[bytes, bytes]]:
    own = [(name.encode(), value.encode()) for name, value in error.headers().items()]
    return [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *own]
