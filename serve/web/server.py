"""Server process: listening socket, signals, graceful shutdown."""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI

from data.errors import SettingsError
from serve.errors import ServiceError
from serve.inference.memory import set_malloc_thresholds
from serve.inference.model_pool import ModelSource
from serve.inference.service import Service
from serve.inference.thread_priority import set_switch_interval
from serve.observability.json_logging import log, set_up_logging
from serve.settings import ServeSettings
from serve.web.app import create_app
from serve.web.descriptors import ACCEPTED_AT_ONCE, connection_limit, raise_descriptor_limit
from serve.web.routes import reload_model
from serve.web.uvicorn_protocol import guarded_protocol
from serve.web.uvicorn_websocket import guarded_websocket

BACKLOG = 2048  # connections waiting to be accepted: a burst of a thousand is no error


class Server(uvicorn.Server):
    """uvicorn's server with graceful shutdown.

    At the first SIGTERM or ctrl-C it keeps its socket open: new requests get 503, running ones finish, until none is
    left or the grace time is over. Then it closes the socket and all connections. A second signal ends the process at
    once. SIGHUP reloads the models.

    Attributes:
        max_connections: limit of open connections, as far as the process may open files.
    """

    def __init__(self, app: FastAPI, settings: ServeSettings) -> None:
        """Configure uvicorn for an application of `create_app`."""
        self.app = app
        self.service: Service = app.state.service
        self.settings = settings
        self.max_connections = connection_limit(settings.max_connections)
        self._closing: dict[Any, float] = {}  # connections that are being closed, and since when
        self.stop_at: float | None = None  # end of the grace time (time.monotonic); None until `stop`
        set_switch_interval()
        set_malloc_thresholds()
        super().__init__(
            uvicorn.Config(
                app,
                http=guarded_protocol(settings, self.service.metrics, self.max_connections),
                ws=guarded_websocket(settings, self.service.metrics),
                ws_max_size=settings.max_frame,
                ws_per_message_deflate=False,  # JPEGs do not compress, and decompression is an attack surface
                lifespan="on",
                log_config=None,
                access_log=False,  # written by the middleware, without queries
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
                backlog=ACCEPTED_AT_ONCE,
                timeout_keep_alive=math.ceil(settings.header_timeout_s) + 1,  # the protocol's own timer comes first
                timeout_graceful_shutdown=math.ceil(settings.grace_s),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install signal handlers for the block. Unlike uvicorn's, they do not raise the signal again afterwards."""
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
            if self.stop_at is None:  # else the process is about to end, and a late second signal must not kill it
                for number, handler in before.items():
                    signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        for listener in sockets or []:  # asyncio has set the backlog to what it accepts in one turn
            listener.listen(BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal, end at the second. A hung decoder or network cannot keep the process alive."""
        if self.stop_at is not None:
            end_process()
        else:
            self.stop()
            _end_process_after(self.settings.grace_s + 5.0)

    def stop(self) -> None:
        """Start the graceful shutdown; thread-safe."""
        self.service.admission.draining = True
        self.stop_at = time.monotonic() + self.settings.grace_s

    async def on_tick(self, counter: int) -> bool:
        """Check, ten times a second, whether to exit: models failed to load, or draining is complete."""
        if self.app.state.failure is not None:
            return True
        if self.stop_at is not None and (not self.service.admission.pending or time.monotonic() > self.stop_at):
            self.should_exit = True
        if counter % 10 == 0:
            self._abort_unclosed()
        return await super().on_tick(counter)

    def _abort_unclosed(self) -> None:
        """Abort connections that were closed `header_timeout_s` ago, and whose clients do not read the last bytes."""
        now = time.monotonic()
        connections = [one for one in self.server_state.connections if one.transport.is_closing()]
        self._closing = {one: self._closing.get(one, now) for one in connections}
        for connection, since in self._closing.items():
            if now - since > self.settings.header_timeout_s:
                connection.transport.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections within the rest of the grace time."""
        left = self.settings.grace_s if self.stop_at is None else self.stop_at - time.monotonic()
        self.config.timeout_graceful_shutdown = max(left, 0.1)  # type: ignore[assignment]
        await super().shutdown(sockets)
        if self.force_exit:  # set by tests; uvicorn skips it then, and the lifespan task would end with an error
            await self.lifespan.shutdown()

    def _reload(self) -> None:
        self._reloading = asyncio.ensure_future(self._reload_all())  # asyncio keeps only weak references to tasks

    async def _reload_all(self) -> None:
        for name in self.service.models.names():
            with contextlib.suppress(ServiceError):  # logged by reload_model
                await reload_model(self.service, name)


def serve(settings: ServeSettings, sources: Mapping[str, ModelSource] | None = None) -> NoReturn:
    """Serve until a signal stops the process, which ends with exit code 0.

    Raises:
        PeleeError: a model that is missing or cannot be loaded, a port in use, ...
    """
    import cv2

    cv2.setNumThreads(1)  # networks and decoders use the cores; OpenCV's calls are too short to split
    raise_descriptor_limit()
    with bind(settings.host, settings.port) as listener:
        app = create_app(settings, sources)
        set_up_logging(settings.log_level)
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        names = ", ".join(app.state.service.models.names())
        print(f"Pelee serves {names} at {address}; the live page is there, too. ctrl-C ends it.", flush=True)
        log(logging.INFO, "start", address=address, settings=settings.redacted())
        if not settings.api_keys and host not in ("127.0.0.1", "::1"):
            log(logging.WARNING, "PELEE_API_KEYS is empty: everyone who can reach this port can use the service")
        server = Server(app, settings)
        if server.max_connections < settings.max_connections:
            log(logging.WARNING, "fewer connections than set: the limit of open files", limit=server.max_connections)
        asyncio.run(server.serve(sockets=[listener]))
    if (failure := app.state.failure) is not None:
        raise failure
    log(logging.INFO, "end")
    end_process()


def bind(host: str, port: int, setting: str = "--port") -> socket.socket:
    """Open a listening socket. Raises `SettingsError` if the address is in use, unknown or not permitted.

    Args:
        host, port: of the address.
        setting: what the user gives the port with, for the message.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if "in use" in str(error):
            raise SettingsError(
                f"port {port} of {host} is taken, perhaps by another server of pelee; choose another with {setting}"
            ) from None
        raise SettingsError(f"cannot listen on port {port} of {host}: {error.strerror or error}") from None


def end_process() -> NoReturn:
    """Exit with code 0 at once, whatever threads still run.

    The interpreter is not shut down: threads of decoders and runtimes that call into it meanwhile would abort the
    process. Nothing is logged here: a signal handler must not wait for a lock.
    """
    with contextlib.suppress(
        OSError, ValueError, RuntimeError
    ):  # a closed pipe, or a write that the signal interrupted
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _end_process_after(seconds: float) -> None:
    """Exit after a delay, whatever threads still run; without effect if the process ends before."""

    def end() -> None:
        time.sleep(seconds)
        end_process()

    threading.Thread(target=end, name="end", daemon=True).start()
