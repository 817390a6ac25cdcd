"""A page instead of a window: what a machine without a display sees, in a browser elsewhere.

Only the standard library serves it, so that the light install can. Whoever looks gets the newest picture and never a
queue of older ones; a picture is encoded once however many look, and not at all when nobody does.
"""

import ipaddress
import json
import re
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from data.errors import SettingsError
from detection.display.latest_frame import VIEWERS, LatestFrame

STATIC = Path(__file__).parent / "static"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
BOUNDARY = "picture"
CONNECTIONS = 64  # at once, viewers' included; each has a thread
PATIENCE = 10.0  # seconds that a connection may take over a request or a picture
AGAIN = 5.0  # seconds after which a picture that stays is sent once more: who has left is noticed
UNSENT = 128 * 1024  # bytes that the system may hold for a viewer: on a slow line these are what a picture waits for
POLL = 0.1  # seconds between looks at whether the server is to end


class WebView:
    """Shows pictures at an address, to whoever looks, until the program ends.

    It takes the place of a `Window`, and is a context manager as that is. On a loopback address only requests that name
    it as such are answered, so that no web page elsewhere can reach it through a name that it makes point here.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Take the page's address; port 0 for any that is free. Nothing listens until the context is entered."""
        self.host, self.port = host, port
        self._newest = LatestFrame()
        self._server: _Server | None = None

    @property
    def address(self) -> str:
        """What to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    def show(self, image: np.ndarray, wait: bool) -> bool:
        """Show an (H, W, 3) uint8 RGB picture, with `wait` until somebody asks for the next one.

        The picture is kept as it is, not copied: it must not be changed afterwards. Always True: who looks through a
        page cannot end the program.
        """
        self._newest.put(image, wait)
        return True

    def keys(self) -> list[str]:
        """None: a page has no keys, see `detection.display.view.View`."""
        return []

    def tell(self, numbers: str) -> None:
        """Show a line of text below the picture from now on."""
        self._newest.numbers = numbers

    def __enter__(self) -> Self:
        """Listen; `SettingsError` where that is not possible."""
        try:
            self._server = _Server(self.host, self.port, self._newest)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SettingsError(
                f"cannot show pictures at {self.address}: {reason}; choose another address or port"
            ) from None
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(POLL,), name="web view", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None:
            self._newest.close()
            self._server.shutdown()
            self._server.end()
            self._server = None


class _Server(socketserver.ThreadingTCPServer):
    """Listens; each connection has a thread, and only so many are there at once."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True  # of connections that have just ended, not of another program's

    def __init__(self, host: str, port: int, newest: LatestFrame) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self.newest = newest
        self.assets = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in CONTENT_TYPES}
        self._connections: set[socket.socket] = set()
        super().__init__((host, port), _Handler)
        self.own = str(self.server_address[0])
        self.loopback = ipaddress.ip_address(self.own).is_loopback

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._connections) >= CONNECTIONS:
            super().shutdown_request(request)
            return
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is nobody's mistake; anything else is told."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Close what is open."""
        self.server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, as HTTP/1.0: a connection ends with its answer."""

    timeout = PATIENCE
    server: _Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if not self._welcome(page=path == "/"):
            return
        if path == "/stream.mjpg":
            self._stream(_viewer(query))
        elif path == "/snapshot.jpg":
            picture = self.server.newest.jpeg()
            if picture is None or picture[0] == 0:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "no picture yet")
            else:
                self._answer(picture[1], "image/jpeg")
        elif path == "/state.json":
            self._answer(json.dumps(self.server.newest.state(_viewer(query))).encode(), "application/json")
        else:
            name = "index.html" if path == "/" else path.removeprefix("/static/")
            if name in self.server.assets:
                self._answer(self.server.assets[name], CONTENT_TYPES[Path(name).suffix])
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        """`/next?picture=N`: go on from picture N."""
        asked = re.fullmatch(r"/next\?picture=([0-9]{1,15})", self.path)
        if not self._welcome(page=False):
            return
        if asked is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
            return
        self.server.newest.ask(int(asked[1]))
        self._answer(b"", "text/plain")

    def _welcome(self, *, page: bool) -> bool:
        """Whether to answer at all: not where another site's page asks, but a link from there may lead to this page."""
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        except ValueError:
            host = ""
        if self.server.loopback and host not in ("localhost", "127.0.0.1", "::1", self.server.own):
            self._refuse(HTTPStatus.FORBIDDEN, "this page is at localhost, and not under any other name")
            return False
        origin = self.headers.get("Origin")
        foreign = origin is not None and origin.partition("://")[2] != self.headers.get("Host")
        if not page and (foreign or self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")):
            self._refuse(HTTPStatus.FORBIDDEN, "not for pages of other sites")
            return False
        return True

    def _stream(self, viewer: str) -> None:
        newest = self.server.newest
        with newest.viewer(viewer) as room:
            if not room:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{VIEWERS} are looking already; try again later")
                return
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)
            self._start(HTTPStatus.OK, f"multipart/x-mixed-replace; boundary={BOUNDARY}")
            self.wfile.write(f"--{BOUNDARY}\r\n".encode())
            index = 0
            while (picture := newest.jpeg(index, AGAIN)) is not None:
                index, jpeg = picture
                if index:
                    # A browser shows a picture when its end has come, and that is the next boundary.
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(b"%b%b\r\n--%b\r\n" % (head.encode(), jpeg, BOUNDARY.encode()))

    def _start(self, status: HTTPStatus, content_type: str, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _answer(self, content: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._start(status, content_type, len(content))
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._answer(f"{reason}\n".encode(), "text/plain; charset=utf-8", status)

    def version_string(self) -> str:
        """Name no versions."""
        return "pelee"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the program's."""


def _viewer(query: str) -> str:
    """Return what a viewer calls itself: `viewer=NAME`; "" where it does not."""
    named = re.fullmatch("viewer=([0-9a-z]{1,32})", query)
    return named[1] if named else ""
