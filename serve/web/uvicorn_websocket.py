"""WebSocket protocol of uvicorn with the deadlines and bounds that it lacks, and with errors as JSON.

`GuardedWebSocket` overrides callbacks of uvicorn's `WebSocketsSansIOProtocol` and reads its attributes, which are not a
public interface; see `serve.web.uvicorn_protocol`.
"""

import asyncio
import http
from typing import Any, ClassVar, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from serve.errors import ServiceError
from serve.observability.json_logging import LOGGER
from serve.observability.metrics import Metrics
from serve.settings import ServeSettings
from serve.web.uvicorn_protocol import error_response

SMALLEST_SLICE, LARGEST_SLICE = 512, 8192  # bytes that are parsed before it is checked whether to go on
FRAMES_A_TURN = 60  # frames of one client that are parsed before the event loop serves others
#: Error of a handshake by the status that the library gives it.
REFUSALS = {
    400: ("bad_request", "this is no valid WebSocket handshake"),
    403: ("forbidden", "this WebSocket is not open to you"),
    405: ("method_not_allowed", "a WebSocket is opened by GET"),
    414: ("uri_too_long", "the address is too long; send settings as a message"),
    426: ("upgrade_required", "this is no valid WebSocket handshake; use a WebSocket client"),
    431: ("header_too_large", "a header line has more than 8 kB, or there are more than 128; send fewer"),
}


class HandshakeProtocol(ServerProtocol):
    """Protocol of the websockets library whose refusals are errors as JSON.

    Attributes:
        frame_count: frames received, control frames included.
    """

    frame_count = 0

    def reject(self, status: http.HTTPStatus | int, text: str) -> Response:
        """Return the response to a refused handshake; the library's own text is left out."""
        status = http.HTTPStatus(status)
        code, message = REFUSALS.get(status, ("internal_error", "something is wrong here; the log has more"))
        _, headers, content = error_response(ServiceError(code, message))
        return Response(status.value, status.phrase, Headers(headers), content)

    def recv_frame(self, frame: Frame) -> None:
        """Count a frame."""
        self.frame_count += 1
        super().recv_frame(frame)


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """Protocol that ends slow, unread and refused connections, and holds little memory for any frames.

    - A handshake that is refused is answered and ended; one that is not answered within `header_timeout_s` is ended.
    - A client that does not read for `header_timeout_s` is disconnected. Nothing is read from it meanwhile: responses
      to pings would fill the memory.
    - Messages are parsed one at a time. The bytes behind one are kept unparsed, and the event loop serves other
      connections after some frames.
    - Fragments are joined as they come.
    """

    settings: ClassVar[ServeSettings]
    metrics: ClassVar[Metrics]
    _handshake_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _turn_scheduled = False
    _slice = SMALLEST_SLICE
    _unparsed: bytearray

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take uvicorn's arguments."""
        super().__init__(*args, **options)
        self.conn: HandshakeProtocol = HandshakeProtocol(max_size=self.config.ws_max_size, logger=self.logger)
        self._unparsed = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer of the handshake."""
        super().connection_made(transport)
        self._handshake_timer = self.loop.call_later(self.settings.header_timeout_s, self._abort, "slow")

    def data_received(self, data: bytes) -> None:
        """Parse what was received, as far as there is room for it."""
        self._unparsed += data
        self._parse()

    async def receive(self) -> Any:
        """Return the next message to the application, and parse on."""
        message = await super().receive()
        self._parse()
        return message

    async def send(self, message: Any) -> None:
        """Send a message of the application; the first one answers the handshake."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # uvicorn would log an error
        if self.handshake_complete:
            self._cancel(self._handshake_timer)

    def pause_writing(self) -> None:
        """Stop reading, and start the write timer."""
        super().pause_writing()
        self.transport.pause_reading()
        self._write_timer = self.loop.call_later(self.settings.header_timeout_s, self._abort, "unread")

    def resume_writing(self) -> None:
        """Stop the write timer, and read on."""
        super().resume_writing()
        self._cancel(self._write_timer)
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self.loop.call_soon(self._turn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._cancel(self._handshake_timer)
        self._cancel(self._write_timer)
        self._unparsed.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection, in whatever state it is."""
        try:
            super().shutdown()
        except Exception:
            LOGGER.exception("a WebSocket could not be closed in order")
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        """Join a fragment to those before it. A list of small fragments would take many times their bytes."""
        if not isinstance(self.frames[0], bytearray):
            self.frames = [cast(bytes, bytearray(self.frames[0]))]
        cast(bytearray, self.frames[0]).extend(event.data)
        if event.fin:
            self.frames = [bytes(self.frames[0])]
            self.send_receive_event_to_app()

    def _parse(self) -> None:
        """Parse until a message waits for the application, the client does not read, or others have their turn."""
        last = self.conn.frame_count + FRAMES_A_TURN
        while self._unparsed and not self._waiting():
            if self.conn.frame_count > last:
                if not self._turn_scheduled:
                    self._turn_scheduled = True
                    self.loop.call_soon(self._turn)
                break
            before, size = self.conn.frame_count, self._slice
            part = bytes(self._unparsed[:size])
            del self._unparsed[:size]
            super().data_received(part)
            # Small slices for many small frames, large ones for an image.
            self._slice = min(2 * size, LARGEST_SLICE) if self.conn.frame_count <= before + 1 else SMALLEST_SLICE
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                self._refuse()
        if self._unparsed or self._waiting():
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _turn(self) -> None:
        self._turn_scheduled = False
        self._parse()

    def _waiting(self) -> bool:
        return self.read_paused or not self.writable.is_set() or self.transport.is_closing()

    def _refuse(self) -> None:
        """Answer a handshake that the library could not parse, and end the connection; uvicorn leaves it open."""
        output = b"".join(self.conn.data_to_send())  # empty unless a line was too long
        if not output:
            head, _, content = error_response(ServiceError("bad_request", REFUSALS[400][1]))
            output = head + content
        self.transport.write(output)
        self.handshake_complete = self.close_sent = True
        self.transport.close()

    def _abort(self, reason: str) -> None:
        self.metrics.cut_off.labels(reason).inc()
        self.transport.abort()

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def guarded_websocket(settings: ServeSettings, metrics: Metrics) -> type[GuardedWebSocket]:
    """Bind `GuardedWebSocket` to settings and metrics, for `uvicorn.Config(ws=...)`."""
    return cast(
        type[GuardedWebSocket],
        type("BoundWebSocket", (GuardedWebSocket,), {"settings": settings, "metrics": metrics}),
    )
