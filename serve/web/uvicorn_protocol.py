"""HTTP/1.1 protocol of uvicorn with the connection timeouts and limits that it lacks.

`GuardedProtocol` overrides callbacks of uvicorn's `H11Protocol` and reads its attributes, which are not a public
interface. pyproject.toml therefore bounds uvicorn's version, and tests/serve/web/test_uvicorn_protocol.py compares the
names used here with those of the installed version.
"""

import asyncio
import socket
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serve.errors import ServiceError
from serve.observability.metrics import Metrics
from serve.settings import ServeSettings
from serve.web.security import HEADERS, request_id


class GuardedProtocol(H11Protocol):
    """Protocol that closes slow, unread and excess connections.

    A connection is closed if

    - a header is not complete within `header_timeout_s` of the connection's start or of the previous response
      (uvicorn's own timer for idle connections stops at the first byte),
    - a response waits that long for a client that does not read,
    - a request body has not ended that long after its response,
    - there are more than `max_connections`.

    The timeout of bodies is in `serve.web.request_body`.
    """

    settings: ClassVar[ServeSettings]
    metrics: ClassVar[Metrics]
    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timer; reject the connection if there are too many."""
        super().connection_made(transport)
        # asyncio sets TCP_NODELAY only on sockets that were created with an explicit protocol number. Without it a
        # response's body waits until the client has acknowledged its head: 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.settings.max_connections:
            self.metrics.cut_off.labels("too_many").inc()
            self._reject(ServiceError("not_ready", "too many connections; ask again", 1))
        else:
            self._start_header_timer()

    def data_received(self, data: bytes) -> None:
        """Stop the header timer once a request has begun."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            _cancel(self._header_timer)

    def on_response_complete(self) -> None:
        """Start the header timer of the next request, unless that has been received already."""
        # Also on a closing connection: the last bytes may wait for a client that does not read.
        self._start_header_timer()
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:  # pipelined
            _cancel(self._header_timer)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Stop the header timer: uvicorn's WebSocket protocol takes over."""
        _cancel(self._header_timer)
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """Start the write timer."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.settings.header_timeout_s, self._abort, "unread")

    def resume_writing(self) -> None:
        """Stop the write timer."""
        super().resume_writing()
        _cancel(self._write_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        _cancel(self._header_timer)
        _cancel(self._write_timer)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP in the format of all errors."""
        self._reject(ServiceError("bad_request", "this is no valid HTTP/1.1 request"))

    def _start_header_timer(self) -> None:
        _cancel(self._header_timer)
        self._header_timer = self.loop.call_later(self.settings.header_timeout_s, self._abort, "slow")

    def _abort(self, reason: str) -> None:
        self.metrics.cut_off.labels(reason).inc()
        self.transport.abort()

    def _reject(self, error: ServiceError) -> None:
        """Send an error response without calling the application, and close."""
        identity = request_id(None)
        content = error.content(identity)
        headers: dict[str, Any] = {
            "content-type": "application/json",
            "content-length": str(len(content)),
            "connection": "close",
            "x-request-id": identity,
            **{name.decode(): value.decode() for name, value in HEADERS.items()},
            **error.headers(),
        }
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write(f"HTTP/1.1 {error.status} \r\n{head}\r\n".encode() + content)
        self.transport.close()


def guarded_protocol(settings: ServeSettings, metrics: Metrics) -> type[GuardedProtocol]:
    """Bind `GuardedProtocol` to settings and metrics, for `uvicorn.Config(http=...)`."""
    bound = type("BoundProtocol", (GuardedProtocol,), {"settings": settings, "metrics": metrics})
    return cast(type[GuardedProtocol], bound)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
