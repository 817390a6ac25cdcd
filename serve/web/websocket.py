"""/ws: JPEG frames in, detections out, one in flight."""

import asyncio
import json
import logging
import time
from typing import Any

from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from detection.inference.options import Search
from serve.errors import ClientGone, ServiceError
from serve.inference.model_pool import ServedModel
from serve.inference.service import Service
from serve.observability.json_logging import log
from serve.web.middleware import GONE
from serve.web.routes import make_search
from serve.web.schemas import FrameSettings
from serve.web.security import check_key, check_origin

IDLE = 300.0  # seconds without a whole message, after which the connection is closed
GOING_AWAY = 1001
ENDPOINT = "/ws"


def add_websocket(app: FastAPI) -> None:
    """Add the endpoint to an application that has its `Service`."""

    @app.websocket(ENDPOINT)
    async def frames(socket: WebSocket) -> None:
        service: Service = app.state.service
        identity = socket.state.request_id
        try:
            check_origin(socket.headers, service.settings.cors_origins)
            check_key(socket.query_params.get("key", socket.headers.get("x-api-key")), service.settings.api_keys)
            if service.open_sockets >= service.settings.max_websockets:
                raise ServiceError("busy", f"{service.open_sockets} WebSockets are open; ask again later", 10)
        except ServiceError as error:
            service.note(error, "")
            service.metrics.requests.labels(ENDPOINT, "", str(error.status)).inc()
            _log(socket, status=error.status)
            headers = {**error.headers(), "x-request-id": identity}
            answer = Response(error.content(identity), error.status, headers, media_type="application/json")
            await socket.send_denial_response(answer)
            return
        service.open_sockets += 1
        service.metrics.websockets.set(service.open_sockets)
        conversation, start = _Conversation(service, socket, identity), time.monotonic()
        try:
            await socket.accept()
            await conversation.run()
        finally:
            service.open_sockets -= 1
            service.metrics.websockets.set(service.open_sockets)
            _log(socket, status=101, frames=conversation.frame, seconds=round(time.monotonic() - start, 1))


def _log(socket: WebSocket, **fields: Any) -> None:
    client = socket.client.host if socket.client else None
    log(logging.INFO, "websocket", request_id=socket.state.request_id, path=ENDPOINT, client=client, **fields)


class _Conversation:
    """One client's frames and settings, in their order."""

    def __init__(self, service: Service, socket: WebSocket, identity: str) -> None:
        self.service = service
        self.socket = socket
        self.identity = identity
        self.settings = FrameSettings(type="settings")
        self.frame = 0
        self._next: asyncio.Task[Any] | None = None  # the message after the one that is being answered

    async def run(self) -> None:
        try:
            while (message := await self._receive()) is not None:
                if (text := message.get("text")) is not None:
                    await self._send(self._take_settings(text))
                else:
                    self.frame += 1
                    await self._send(await self._look(message.get("bytes") or b""))
        except (ClientGone, WebSocketDisconnect):
            pass
        finally:
            if self._next is not None:
                self._next.cancel()

    async def _receive(self) -> dict[str, Any] | None:
        """The next message, None where there is none any more."""
        try:
            message = await asyncio.wait_for(self._coming(), IDLE)
        except TimeoutError:
            await self.socket.close(GOING_AWAY, "idle")
            return None
        self._next = None
        return None if message["type"] == "websocket.disconnect" else message

    def _coming(self) -> "asyncio.Task[Any]":
        """The task that waits for the next message. Only one is read ahead: the others stay in the client."""
        if self._next is None:
            self._next = asyncio.ensure_future(self.socket.receive())
        return self._next

    async def _gone(self) -> None:
        """Return when the client is gone; a message that comes earlier is kept for later."""
        message = await asyncio.shield(self._coming())
        if message["type"] != "websocket.disconnect":
            await asyncio.Event().wait()

    def _take_settings(self, text: str) -> dict[str, Any]:
        """What to answer to a text message; settings that are wrong change nothing."""
        try:
            settings = FrameSettings.model_validate_json(text)
            model, search = self._search(settings)
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
            "conf": search.confidence,
            "iou": search.iou,
            "classes": settings.classes,
        }

    def _search(self, settings: FrameSettings) -> tuple[ServedModel, Search]:
        model = self.service.models.get(settings.model, "detection")
        return model, make_search(model, settings.conf, settings.iou, settings.classes or None)

    async def _look(self, content: bytes) -> dict[str, Any]:
        """The answer to a frame."""
        name, status = "", 200
        try:
            # Anew for each frame: the model may have been reloaded.
            model, search = self._search(self.settings)
            name = model.name
            with self.service.admission.enter():
                answer = await self.service.while_wanted(
                    self.service.detect(content, model, search), self._gone(), name
                )
            values = {key: answer.values[key] for key in ("width", "height", "detections")}
            timings = {stage: round(1000 * seconds, 2) for stage, seconds in answer.timings.items()}
            return {"type": "detections", **values, "timings_ms": timings}
        except ServiceError as error:
            status = error.status
            self.service.note(error, name)
            return self._error(error)
        except ClientGone:
            status = GONE
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
