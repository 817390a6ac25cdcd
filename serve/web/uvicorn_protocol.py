"""Connections that take their time: uvicorn's HTTP/1.1 protocol with the deadlines that it lacks."""

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serve.errors import ServiceError
from serve.observability.metrics import Metrics
from serve.settings import ServeSettings
from serve.web.security import HEADERS, request_id


def guarded_protocol(settings: ServeSettings, metrics: Metrics) -> type[H11Protocol]:
    """The protocol for `uvicorn.Config(http=...)`.

    A connection is cut off where a header is not whole within `header_timeout_s` of the connection's start or of the
    answer before it (uvicorn's own timer for idle connections stops at the first byte), where an answer waits that
    long for a client that does not read, or has not ended its request that long after its answer, and where there are
    more than `max_connections`. Bodies have their deadline in `serve.web.request_body`.
    """

    class GuardedProtocol(H11Protocol):
        _slow: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # asyncio's own way to this overlooks sockets that were made without naming their protocol. Without it an
            # answer's body waits until the client has acknowledged its head: 40 ms.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self.connections) > settings.max_connections:
                metrics.cut_off.labels("too_many").inc()
                self._refuse(ServiceError("not_ready", "too many connections; ask again", 1))
            else:
                self._expect_header()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                _cancel(self._slow)

        def on_response_complete(self) -> None:
            # Also where the connection is being closed: the last bytes may wait for a client that does not read.
            self._expect_header()
            super().on_response_complete()
            if self.cycle is not None and not self.cycle.response_complete:  # the next one had been sent ahead
                _cancel(self._slow)

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            _cancel(self._slow)
            super().handle_websocket_upgrade(event)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(settings.header_timeout_s, self._cut_off, "unread")

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self._unread)

        def connection_lost(self, exc: Exception | None) -> None:
            _cancel(self._slow)
            _cancel(self._unread)
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(ServiceError("bad_request", "this is no valid HTTP/1.1 request"))

        def _expect_header(self) -> None:
            _cancel(self._slow)
            self._slow = self.loop.call_later(settings.header_timeout_s, self._cut_off, "slow")

        def _cut_off(self, reason: str) -> None:
            metrics.cut_off.labels(reason).inc()
            self.transport.abort()

        def _refuse(self, error: ServiceError) -> None:
            """Answer without asking the application, and close."""
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

    return GuardedProtocol


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
