"""The process: its socket, its signals, and an end that leaves nobody without an answer."""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from data.errors import SettingsError
from serve.errors import ServiceError
from serve.inference.model_pool import Source
from serve.inference.service import Service
from serve.inference.thread_priority import switch_often
from serve.observability.json_logging import log, set_up_logging
from serve.settings import ServeSettings
from serve.web.app import create_app
from serve.web.routes import reload_model
from serve.web.uvicorn_protocol import guarded_protocol

BACKLOG = 2048  # connections that wait to be accepted: a thousand at once are a burst, no error


class Server(uvicorn.Server):
    """uvicorn's server, with another end.

    At the first SIGTERM or ctrl-C it goes on answering: with 503 what comes, and with results what runs, until that is
    done or the grace time is over. Only then does it close its socket and its connections. The second one ends it at
    once. SIGHUP reloads the models.
    """

    def __init__(self, app: FastAPI, settings: ServeSettings) -> None:
        """Take an application that `create_app` made."""
        self.app = app
        self.service: Service = app.state.service
        self.settings = settings
        self.stop_at: float | None = None  # time.monotonic; None while nobody has told it to stop
        switch_often()
        super().__init__(
            uvicorn.Config(
                app,
                http=guarded_protocol(settings, self.service.metrics),
                ws="websockets-sansio",
                ws_max_size=settings.max_frame,
                ws_per_message_deflate=False,  # JPEGs do not shrink, and what inflates is a danger
                lifespan="on",
                log_config=None,
                access_log=False,  # the middleware writes it, without queries
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=math.ceil(settings.grace_s),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals within the block; unlike uvicorn's, they do not kill the process once it is done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers: dict[int, Any] = {signal.SIGINT: self.handle_exit, signal.SIGTERM: self.handle_exit}
        if hasattr(signal, "SIGHUP"):
            loop = asyncio.get_running_loop()
            handlers[signal.SIGHUP] = lambda *_: loop.call_soon_threadsafe(self._reload)
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end, or hurry it. A decoder or a network that hangs does not keep the process alive."""
        if self.stop_at is not None:
            self.should_exit = self.force_exit = True
            _end_process_after(1.0)
        else:
            self.stop()
            _end_process_after(self.settings.grace_s + 5.0)

    def stop(self) -> None:
        """Begin the end; may be called in any thread."""
        self.service.admission.draining = True
        self.stop_at = time.monotonic() + self.settings.grace_s

    async def on_tick(self, counter: int) -> bool:
        """See, ten times a second, whether the end has come."""
        if self.app.state.failure is not None:
            return True
        if self.stop_at is not None and (not self.service.admission.pending or time.monotonic() > self.stop_at):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything within what is left of the grace time."""
        left = self.settings.grace_s if self.stop_at is None else self.stop_at - time.monotonic()
        self.config.timeout_graceful_shutdown = max(left, 0.1)  # type: ignore[assignment]
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves it out then, and its task dies of that
            await self.lifespan.shutdown()

    def _reload(self) -> None:
        self._reloading = asyncio.ensure_future(self._reload_all())  # kept: asyncio itself holds tasks only weakly

    async def _reload_all(self) -> None:
        for name in self.service.models.names():
            with contextlib.suppress(ServiceError):  # it has been logged
                await reload_model(self.service, name)


def serve(settings: ServeSettings, sources: Mapping[str, Source] | None = None) -> int:
    """Serve until a signal ends it, and return 0.

    Raises:
        PeleeError: a model that is not there or cannot be loaded, a port that is taken, ...
    """
    import cv2

    cv2.setNumThreads(1)  # the cores are the networks' and the decoders'; OpenCV's share is too small to split
    with bind(settings.host, settings.port) as listener:
        app = create_app(settings, sources)
        set_up_logging(settings.log_level)
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        names = ", ".join(app.state.service.models.names())
        print(f"Pelee serves {names} at {address}; the live page is there, too. ctrl-C ends it.", flush=True)
        log(logging.INFO, "start", address=address, settings=settings.shown())
        if not settings.api_keys and host not in ("127.0.0.1", "::1"):
            log(logging.WARNING, "whoever reaches this port may use it: PELEE_API_KEYS is empty")
        server = Server(app, settings)
        asyncio.run(server.serve(sockets=[listener]))
    if (failure := app.state.failure) is not None:
        raise failure
    log(logging.INFO, "end")
    return 0


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `SettingsError` where the address is taken, unknown or not allowed."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if "in use" in str(error):
            raise SettingsError(
                f"port {port} of {host} is taken, perhaps by another pelee-serve; choose another with --port"
            ) from None
        raise SettingsError(f"cannot listen on port {port} of {host}: {error.strerror or error}") from None


def _end_process_after(seconds: float) -> None:
    """End the process then, whatever still runs in it; if it ends before, nothing happens."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(0)

    threading.Thread(target=end, name="end", daemon=True).start()
