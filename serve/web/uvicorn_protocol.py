"""HTTP/1.1 protocol of uvicorn with the connection timeouts and limits that it lacks.

`GuardedProtocol` overrides callbacks of uvicorn's `H11Protocol` and reads its attributes, which are not a public
interface. pyproject.toml therefore bounds uvicorn's version, and tests/serve/web/test_uvicorn_protocol.py compares the
names used here with those of the installed version.
"""

import asyncio
import http
import re
import socket
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.flow_control import FlowControl
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

MAX_HEADER, MAX_HEADER_LINES = 65536, 256  # bytes and lines of a request's header; a line takes some microseconds
CHUNKS_A_TURN = 100  # chunks of one body that are parsed before the event loop serves others: 1 to 2 ms
_END_OF_HEADER = re.compile(rb"\n\r?\n")


class BoundedConnection(h11.Connection):
    """Parser of h11 that takes a bounded time at once, whatever a client sends.

    Attributes:
        chunks_left: chunks of the body that may be parsed in this turn of the event loop.
        header_too_large: whether a request was refused for the size of its header.
    """

    chunks_left = CHUNKS_A_TURN
    header_too_large = False

    def next_event(self) -> Any:
        """Parse as h11 does; NEED_DATA where no chunk is left, RemoteProtocolError for too many header lines."""
        if not self.chunks_left:
            return h11.NEED_DATA
        if self.their_state is h11.IDLE:
            data = self.trailing_data[0]
            end = _END_OF_HEADER.search(data)
            if data.count(b"\n", 0, len(data) if end is None else end.start()) > MAX_HEADER_LINES:
                self.header_too_large = True
                raise h11.RemoteProtocolError("too many header lines", error_status_hint=431)
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.header_too_large = error.error_status_hint == 431
            raise
        if isinstance(event, h11.Data):
            self.chunks_left -= 1
        return event


class TurnFlowControl(FlowControl):
    """Flow control of uvicorn that reads nothing from a client whose received bytes wait to be parsed."""

    waiting = False

    def resume_reading(self) -> None:
        """Read on, unless bytes wait."""
        if self.waiting:
            self.read_paused = False
        else:
            super().resume_reading()

    def set_waiting(self, waiting: bool) -> None:
        """Set whether bytes wait."""
        if waiting:
            self._transport.pause_reading()
        elif self.waiting and not self.read_paused:
            self._transport.resume_reading()
        self.waiting = waiting


class GuardedProtocol(H11Protocol):
    """Protocol that closes slow, unread and excess connections, and parses in turns.

    A connection is closed if

    - a header is not complete within `header_timeout_s` of the connection's start or of the previous response
      (uvicorn's own timer for idle connections stops at the first byte),
    - a response waits that long for a client that does not read,
    - a request body has not ended that long after its response,
    - there are more than `max_connections`, unless it asks for the server's health.

    A body of many small chunks, each of which costs the parser as much as a large one, is parsed in turns with the
    requests of others.

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
    _turn_scheduled = False

    def __init__(self, *args: Any, **options: Any) -> None:
        """As uvicorn's, with a parser that takes a bounded time at once."""
        super().__init__(*args, **options)
        self.conn: BoundedConnection = BoundedConnection(h11.SERVER, MAX_HEADER)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timer; reject the connection if there are too many."""
        super().connection_made(transport)
        self.flow: TurnFlowControl = TurnFlowControl(transport)
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

    def handle_events(self) -> None:
        """Parse what was received; the chunks over `CHUNKS_A_TURN` in a later turn of the event loop."""
        self.conn.chunks_left = CHUNKS_A_TURN
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            _cancel(self._header_timer)
        waiting = not self.conn.chunks_left
        self.flow.set_waiting(waiting)
        if waiting and not self._turn_scheduled:
            self._turn_scheduled = True
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        if not self.transport.is_closing():
            self._received_at = self.loop.time()  # the end of the input may be right behind what waited
            self.handle_events()

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
        super().on_response_complete()  # handles the events of a pipelined request
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
        if self.conn.header_too_large:
            limit = f"{MAX_HEADER} bytes or {MAX_HEADER_LINES} lines"
            self._reject(ServiceError("header_too_large", f"the header has more than {limit}; send a shorter one"))
        else:
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
