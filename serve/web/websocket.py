"""WebSocket endpoint /ws: JPEG frames in, detections out, one in flight."""

import asyncio
import json
import logging
import time
from typing import Any

from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from detection.inference.options import DetectionOptions
from serve.errors import ClientDisconnected, ServiceError
from serve.inference.model_pool import ServedModel
from serve.inference.service import Service
from serve.inference.tiled_request import most_views, parse_tiles
from serve.observability.json_logging import log
from serve.web.middleware import CLIENT_CLOSED_REQUEST
from serve.web.routes import detection_options
from serve.web.schemas import FrameSettings
from serve.web.security import check_key, check_origin

MAX_TEXT = 65536  # characters of a text message
IDLE_TIMEOUT = 300.0  # s without a complete message, after which the connection is closed
GOING_AWAY = 1001
ENDPOINT = "/ws"


def add_websocket(app: FastAPI) -> None:
    """Add the endpoint to an application of `create_app`."""

    @app.websocket(ENDPOINT)
    async def frames(socket: WebSocket) -> None:
        service: Service = app.state.service
        identity = socket.state.request_id
        try:
            check_origin(socket.headers, service.settings.cors_origins, service.settings.allowed_hosts)
            check_key(socket.query_params.get("key", socket.headers.get("x-api-key")), service.settings.api_keys)
            if service.admission.draining:
                raise ServiceError("draining", "the server is stopping; connect again when it is back", 5)
            if service.open_sockets >= service.settings.max_websockets:
                raise ServiceError("busy", f"{service.open_sockets} WebSockets are open; ask again later", 10)
        except ServiceError as error:
            service.count_error(error, "")
            service.metrics.requests.labels(ENDPOINT, "", str(error.status)).inc()
            _log(socket, status=error.status)
            answer = Response(error.content(identity), error.status, error.headers(), media_type="application/json")
            await socket.send_denial_response(answer)
            return
        service.open_sockets += 1
        service.metrics.websockets.set(service.open_sockets)
        stream, start = FrameStream(service, socket, identity), time.monotonic()
        try:
            await socket.accept()
            await stream.run()
        finally:
            service.open_sockets -= 1
            service.metrics.websockets.set(service.open_sockets)
            _log(socket, status=101, frames=stream.frame, seconds=round(time.monotonic() - start, 1))


def _log(socket: WebSocket, **fields: Any) -> None:
    client = socket.client.host if socket.client else None
    log(logging.INFO, "websocket", request_id=socket.state.request_id, path=ENDPOINT, client=client, **fields)


class FrameStream:
    """Frames and settings of one client, processed in order."""

    def __init__(self, service: Service, socket: WebSocket, identity: str) -> None:
        self.service = service
        self.socket = socket
        self.identity = identity
        self.settings = FrameSettings(type="settings")
        self.frame = 0
        self._next: asyncio.Task[Any] | None = None  # receives the message after the one in progress

    async def run(self) -> None:
        try:
            while (message := await self._receive()) is not None:
                if (text := message.get("text")) is not None:
                    await self._send(self._apply_settings(text))
                else:
                    self.frame += 1
                    await self._send(await self._answer_frame(message.get("bytes") or b""))
        except (ClientDisconnected, WebSocketDisconnect):
            pass
        finally:
            if self._next is not None:
                self._next.cancel()

    async def _receive(self) -> dict[str, Any] | None:
        """Return the next message; None after a disconnect or the idle timeout."""
        try:
            message = await asyncio.wait_for(self._next_message(), IDLE_TIMEOUT)
        except TimeoutError:
            await self.socket.close(GOING_AWAY, "idle")
            return None
        self._next = None
        return None if message["type"] == "websocket.disconnect" else message

    def _next_message(self) -> "asyncio.Task[Any]":
        """Return the task that receives the next message. One message is read ahead; the rest stay at the client."""
        if self._next is None:
            self._next = asyncio.ensure_future(self.socket.receive())
        return self._next

    async def _wait_for_disconnect(self) -> None:
        """Return when the client has disconnected; a message received before is kept for later."""
        message = await asyncio.shield(self._next_message())
        if message["type"] != "websocket.disconnect":
            await asyncio.Event().wait()

    def _apply_settings(self, text: str) -> dict[str, Any]:
        """Apply a text message and return the reply; invalid settings change nothing."""
        if len(text) > MAX_TEXT:
            return self._error(ServiceError("invalid_parameter", f"a text message has at most {MAX_TEXT} characters"))
        try:
            settings = FrameSettings.model_validate_json(text)
            model, options = self._options(settings)
            parse_tiles(settings.tiles, self.service.settings.tile_limit)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = ".".join(map(str, first["loc"]))[:60] or "message"
            return self._error(ServiceError("invalid_parameter", f"{name}: {first['msg']}"))
        except ServiceError as error:
            return self._error(error)
        self.settings = settings
        return {
            "type": "settings",
            "model": model.name,
            "conf": None if isinstance(options.confidence, tuple) else options.confidence,  # by class
            "iou": options.iou,
            "classes": settings.classes,
            "tiles": settings.tiles,
        }

    def _options(self, settings: FrameSettings) -> tuple[ServedModel, DetectionOptions]:
        model = self.service.models.get(settings.model, "detection")
        return model, detection_options(model, settings)

    async def _answer_frame(self, content: bytes) -> dict[str, Any]:
        """Detect objects in a frame and return the reply."""
        name, status = "", 200
        try:
            # Looked up for each frame: the model may have been reloaded.
            model, options = self._options(self.settings)
            name = model.name
            tiling = parse_tiles(self.settings.tiles, self.service.settings.tile_limit)
            with self.service.admission.enter() as set_count:
                set_count(most_views(tiling))
                answer = await self.service.run_until_disconnect(
                    self.service.detect(content, model, options, tiling=tiling), self._wait_for_disconnect(), name
                )
                set_count(answer.views)
            values = {key: answer.values[key] for key in ("width", "height", "detections")}
            timings = {stage: round(1000 * seconds, 2) for stage, seconds in answer.timings.items()}
            return {"type": "detections", **values, "timings_ms": timings}
        except ServiceError as error:
            status = error.status
            self.service.count_error(error, name)
            return self._error(error)
        except ClientDisconnected:
            status = CLIENT_CLOSED_REQUEST
            raise
        except Exception as error:
            status = 500
            log(logging.ERROR, "bug", error, request_id=self.identity, path=ENDPOINT)
            return self._error(ServiceError("internal_error", "something is wrong here; the log has more"))
        finally:
            self.service.metrics.requests.labels(ENDPOINT, name, str(status)).inc()

    def _error(self, error: ServiceError) -> dict[str, Any]:
        extra = {} if error.retry_after is None else {"retry_after": error.retry_after}
        return {"type": "error", **error.body(f"{self.identity}-{self.frame}"), **extra}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.socket.send_text(json.dumps(message, allow_nan=False))
