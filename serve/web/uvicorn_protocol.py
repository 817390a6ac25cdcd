"""HTTP/1.1 protocol of uvicorn with the connection timeouts and limits that it lacks.

`GuardedProtocol` overrides callbacks of uvicorn's `H11Protocol` and reads its attributes, which are not a public
interface. pyproject.toml therefore bounds uvicorn's version, and tests/serve/web/test_uvicorn_protocol.py compares the
names used here with those of the installed version.
"""

import asyncio
import http
import socket
from typing import ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serve.errors import ServiceError
from serve.observability.json_logging import LOGGER
from serve.observability.metrics import Metrics
from serve.settings import ServeSettings
from serve.web.security import HEADERS, request_id

EXCESS_CONNECTIONS = 64  # connections over the limit whose request is awaited, so that they can read the rejection
# Served on them: an orchestrator must not restart a server because it has many clients.
HEALTH_REQUESTS = (b"GET /healthz ", b"GET /readyz ", b"HEAD /healthz ", b"HEAD /readyz ")
EXCESS_S = 1.0  # seconds that such a request is awaited
HALF_CLOSE_S = 0.1  # seconds between a request and the end of the client's input that is no disconnect


class GuardedProtocol(H11Protocol):
    """Protocol that closes slow, unread and excess connections.

    A connection is closed if

    - a header is not complete within `header_timeout_s` of the connection's start or of the previous response
      (uvicorn's own timer for idle connections stops at the first byte),
    - a response waits that long for a client that does not read,
    - a request body has not ended that long after its response,
    - there are more than `max_connections`, unless it asks for the server's health.

    The timeout of bodies is in `serve.web.request_body`; `serve.web.server` aborts what does not end after a close.

    A client that ends its input together with its request (`nc -N`, `shutdown(SHUT_WR)`) gets its response. A client
    that does so later has disconnected: a closed socket looks the same.
    """

    settings: ClassVar[ServeSettings]
    metrics: ClassVar[Metrics]
    max_connections: ClassVar[int]
    excess: ClassVar[dict["GuardedProtocol", None]]  # connections over the limit without a request, in their order
    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _excess_timer: asyncio.TimerHandle | None = None
    _received_at = 0.0  # time of the latest bytes, by the loop's clock
    _ends = False  # the connection ends with the response to what was received

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timer; reject the connection if there are too many."""
        super().connection_made(transport)
        # asyncio sets TCP_NODELAY only on sockets that were created with an explicit protocol number. Without it a
        # response's body waits until the client has acknowledged its head: 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) <= self.max_connections:
            self._start_header_timer()
            return
        # Closing while the request arrives would make the client's system discard the response.
        self._excess_timer = self.loop.call_later(EXCESS_S, self._reject_excess)
        self.excess[self] = None
        if len(self.excess) > EXCESS_CONNECTIONS:
            next(iter(self.excess))._reject_excess()

    def data_received(self, data: bytes) -> None:
        """Stop the header timer once a request has begun."""
        if self._excess_timer is not None:
            if not data.startswith(HEALTH_REQUESTS):
                self._reject_excess()
                return
            self._stop_waiting()
            self._ends = True
            self._start_header_timer()
        self._received_at = self.loop.time()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            _cancel(self._header_timer)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep the connection for the response to a complete request."""
        if not self._ends:
            answering = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
            self._ends = answering and self.loop.time() - self._received_at <= HALF_CLOSE_S
        return self._ends

    def on_response_complete(self) -> None:
        """Start the header timer of the next request, unless that has been received already."""
        # Also on a closing connection: the last bytes may wait for a client that does not read.
        self._start_header_timer()
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:  # pipelined
            _cancel(self._header_timer)
        if self._ends and (self.cycle.response_complete or self.cycle.more_body):
            self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Stop the header timer: the WebSocket protocol takes over.

        Cookies are left out. The service has none, but a browser sends those of all other programs on localhost, and
        the WebSocket library takes no line over 8 kB.
        """
        _cancel(self._header_timer)
        self.headers = [(name, value) for name, value in self.headers if name != b"cookie"]
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
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection, in whatever state it is, after the response in progress."""
        try:
            super().shutdown()
        except Exception:
            LOGGER.exception("a connection could not be closed in order")
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP in the format of all errors."""
        self._reject(ServiceError("bad_request", "this is no valid HTTP/1.1 request"))

    def _start_header_timer(self) -> None:
        _cancel(self._header_timer)
        self._header_timer = self.loop.call_later(self.settings.header_timeout_s, self._header_timeout)

    def _header_timeout(self) -> None:
        """Close a connection that is idle between requests; abort one whose client is slow."""
        idle = self.cycle is not None and self.cycle.response_complete and not self.conn.trailing_data[0]
        if idle and not self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self._abort("slow")

    def _abort(self, reason: str) -> None:
        self.metrics.cut_off.labels(reason).inc()
        self.transport.abort()

    def _stop_waiting(self) -> None:
        _cancel(self._excess_timer)
        self._excess_timer = None
        self.excess.pop(self, None)

    def _reject_excess(self) -> None:
        self._stop_waiting()
        self.metrics.cut_off.labels("too_many").inc()
        self._reject(ServiceError("not_ready", "too many connections; ask again", 1))

    def _reject(self, error: ServiceError) -> None:
        """Send an error response without calling the application, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head, _, content = error_response(error)
            self.transport.write(head + content)
        self.transport.close()


def guarded_protocol(settings: ServeSettings, metrics: Metrics, max_connections: int) -> type[GuardedProtocol]:
    """Bind `GuardedProtocol` to settings, metrics and limit, for `uvicorn.Config(http=...)`."""
    values = {"settings": settings, "metrics": metrics, "max_connections": max_connections, "excess": {}}
    return cast(type[GuardedProtocol], type("BoundProtocol", (GuardedProtocol,), values))


def error_response(error: ServiceError) -> tuple[bytes, list[tuple[str, str]], bytes]:
    """Return a whole HTTP/1.1 error response for a connection that ends with it: its head, headers and body."""
    identity = request_id(None)
    content = error.content(identity)
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(content))),
        ("connection", "close"),
        ("x-request-id", identity),
        *((name.decode(), value.decode()) for name, value in HEADERS.items()),
        *error.headers().items(),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n{lines}\r\n".encode(), headers, content


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
