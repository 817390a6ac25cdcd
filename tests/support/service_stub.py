"""Stub of the service for the page's tests: it detects the red and the blue rectangle of an image.

What the page does with errors, a lost server or a key needs a server that has them when the test says so.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

from serve.web.page import add_page

CLASS_NAMES = ("bird", "cat", "dog", "person")
RED, BLUE = (225, 25, 25), (25, 25, 225)  # of the dog, at score 0.9, and of the cat, at 0.4
Detections = list[dict[str, Any]]


def find_rectangles(image: np.ndarray) -> Detections:
    """The boxes of the red and the blue pixels of an (H, W, 3) uint8 RGB image, best first."""
    pixels = image.astype(int)
    found = []
    for label, score, main, other in (("dog", 0.9, 0, 2), ("cat", 0.4, 2, 0)):
        rows, columns = np.nonzero((pixels[..., main] > 140) & (pixels[..., other] < 110) & (pixels[..., 1] < 110))
        if len(rows) > 20:
            box = [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]
            found.append({"label": label, "class_id": CLASS_NAMES.index(label), "score": score, "box": box})
    return found


class ServiceStub:
    """The application, what it was asked, and what it shall do.

    Attributes:
        key: the API key that every request needs; None for none.
        failures: answers (status, code, message) to give before the next good ones.
        settings: the settings that came through the socket, in their order.
        asked: the queries of each POST /detect.
        sizes: (width, height) of the images that were posted and read.
        class_confidence: thresholds by class of the first model; None for one threshold.
        socket: "open"; "refused": no handshake succeeds; "silent": messages are not answered.
    """

    def __init__(
        self,
        find: Callable[[np.ndarray], Detections] = find_rectangles,
        class_names: tuple[str, ...] = CLASS_NAMES,
        runtime: str = "stand-in",
    ) -> None:
        self.key: str | None = None
        self.failures: list[tuple[int, str, str]] = []
        self.settings: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.sizes: list[tuple[int, int]] = []
        self.class_confidence: dict[str, float] | None = None
        self.socket = "open"
        self._find = find
        self._class_names = class_names
        self._runtime = runtime
        self.app = self._build()

    def _build(self) -> FastAPI:
        app = FastAPI()
        add_page(app)

        def refusal(request: Request) -> JSONResponse | None:
            if self.key and request.headers.get("X-API-Key") != self.key:
                failure = (401, "unauthorized", "X-API-Key is missing or wrong")
            elif self.failures and request.url.path == "/detect":
                failure = self.failures.pop(0)
            else:
                return None
            status, code, message = failure
            headers = {"Retry-After": "1"} if status == 429 else None
            return JSONResponse({"code": code, "message": message, "request_id": "r1"}, status, headers)

        @app.get("/models", response_model=None)
        async def models(request: Request) -> Any:
            shared = {"class_names": self._class_names, "input_size": 304, "runtime": self._runtime, "ready": True}
            detector = {"task": "detection", "default_confidence": 0.25, **shared}
            return refusal(request) or {
                "models": [
                    {"name": "pelee-voc", **detector, "class_confidence": self.class_confidence},
                    {"name": "pelee-two", **detector},
                ],
                "default": {"detection": "pelee-voc", "classification": None},
            }

        @app.post("/detect", response_model=None)
        async def detect(request: Request, file: UploadFile, conf: float) -> Any:
            self.asked.append(dict(request.query_params))
            refused = refusal(request)
            if refused:
                return refused
            image = decode(await file.read())
            if image is None:
                body = {"code": "unsupported_picture", "message": "not a JPEG, PNG, WebP or BMP", "request_id": "r2"}
                return JSONResponse(body, 415)
            self.sizes.append((image.shape[1], image.shape[0]))
            return {"source": file.filename, "frame": 0, **self._answer(image, conf)}

        @app.websocket("/ws")
        async def frames(socket: WebSocket) -> None:
            if self.socket == "refused" or (self.key and socket.query_params.get("key") != self.key):
                await socket.close()
                return
            await socket.accept()
            conf = 0.25
            with contextlib.suppress(WebSocketDisconnect):
                while True:
                    message = await socket.receive()
                    if message["type"] == "websocket.disconnect":
                        return
                    if self.socket == "silent":
                        continue
                    if message.get("text") is not None:
                        settings = json.loads(message["text"])
                        self.settings.append(settings)
                        conf = settings["conf"]
                        await socket.send_json(settings)
                        continue
                    started = time.perf_counter()
                    image = decode(message["bytes"])
                    decoded = time.perf_counter()
                    assert image is not None
                    answer = self._answer(image, conf)
                    done = time.perf_counter()
                    timings = {
                        "decode": (decoded - started) * 1000,
                        "queue": 0.0,
                        "network": (done - decoded) * 1000,
                        "postprocess": 0.0,
                        "total": (done - started) * 1000,
                    }
                    await socket.send_json({"type": "detections", **answer, "timings_ms": timings})

        return app

    def _answer(self, image: np.ndarray, conf: float) -> dict[str, Any]:
        height, width = image.shape[:2]
        detections = [found for found in self._find(image) if found["score"] >= conf]
        return {"width": width, "height": height, "detections": detections}


def decode(content: bytes) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB of an encoded image."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@contextlib.contextmanager
def running(app: Any, port: int = 0) -> Iterator[str]:
    """Run an application on this machine, in a thread; gives its address, and stops it at the end."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
