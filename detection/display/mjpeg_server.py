"""MJPEG server: shows results on a page in a browser, for machines without a display.

It uses the standard library only, as the light install has no web framework. Each viewer gets the latest frame and
never a queue of older ones; a frame is encoded once for all viewers, and not at all without viewers.
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

import numpy as np

from data.errors import SettingsError
from data.files.content_types import CONTENT_TYPES
from detection.display.host_names import is_local_name
from detection.display.latest_frame import VIEWERS, LatestFrame

STATIC = Path(__file__).parent / "static"
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
UNBUFFERED = {"X-Accel-Buffering": "no"}  # nginx would hold frames back until its buffers are full
OWN_REQUEST = "X-Pelee-Page"  # header of the page's own POST
BOUNDARY = "picture"
CONNECTIONS = 64  # at once, including viewers; each has a thread
TIMEOUT = 10.0  # seconds for a request, and for sending an image
RESEND = 5.0  # seconds after which an unchanged frame is sent again, to detect viewers that have left
SEND_BUFFER = 128 * 1024  # bytes in the socket per viewer: on a slow line they delay the latest frame
POLL = 0.1  # seconds between two checks for shutdown


class WebView:
    """`View` on a web page, for any number of viewers; a context manager as `Window`.

    On a loopback address only requests with a loopback `Host` are answered, so that pages of other sites cannot read
    it through DNS rebinding.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Take the page's address; port 0 is any free one. The server listens once the context is entered."""
        self.host, self.port = host, port
        self._latest = LatestFrame()
        self._server: _Server | None = None

    @property
    def address(self) -> str:
        """URL of the page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    def show(self, image: np.ndarray, wait: bool) -> bool:
        """Show an (H, W, 3) uint8 RGB image, with `wait` until a viewer requests the next one.

        The image is not copied: it must not be changed afterwards. Always True: a viewer cannot end the program.
        """
        self._latest.put(image, wait)
        return True

    def keys(self) -> list[str]:
        """Return an empty list: a page has no keys."""
        return []

    def set_status(self, text: str) -> None:
        """Set the line of text below the image."""
        self._latest.status = text

    def __enter__(self) -> Self:
        """Start the server; `SettingsError` where it cannot listen at the address."""
        try:
            self._server = _Server(self.host, self.port, self._latest)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SettingsError(
                f"cannot show images at {self.address}: {reason}; choose another address or port"
            ) from None
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(POLL,), name="web view", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server, and close all connections."""
        if self._server is not None:
            self._latest.close()
            self._server.shutdown()
            self._server.end()
            self._server = None


class _Server(socketserver.ThreadingTCPServer):
    """TCP server with a thread per connection, and at most `CONNECTIONS` of them."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True  # of connections that have just ended; not of another program

    def __init__(self, host: str, port: int, latest: LatestFrame) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self.latest = latest
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
        """Ignore broken connections; print any other error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Close the socket and all connections."""
        self.server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):  # the client has closed it
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Handler of one request, as HTTP/1.0: the connection is closed after the response."""

    timeout = TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        name = "index.html" if path == "/" else path.removeprefix("/static/")
        if not self._is_allowed(public=name in self.server.assets):
            return
        if path == "/stream.mjpg":
            self._stream(_viewer(query))
        elif path == "/snapshot.jpg":
            frame = self.server.latest.jpeg()
            if frame is None or frame[0] == 0:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "no image yet")
            else:
                self._answer(frame[1], "image/jpeg")
        elif path == "/state.json":
            self._answer(json.dumps(self.server.latest.state(_viewer(query))).encode(), "application/json")
        elif name in self.server.assets:
            self._answer(self.server.assets[name], CONTENT_TYPES[Path(name).suffix])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        """`/next?picture=N`: request the image after number N."""
        requested = re.fullmatch(r"/next\?picture=([0-9]{1,15})", self.path)
        if not self._is_allowed(public=False):
            return
        if requested is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
            return
        self.server.latest.request_next(int(requested[1]))
        self._answer(b"", "text/plain")

    def _is_allowed(self, *, public: bool) -> bool:
        """Whether to answer: requests of other sites' pages are refused, except for the page and its files.

        Behind a reverse proxy, Host is the proxy's name for this server, and the browser's Origin differs from it. So
        the page's own POST has a header that a page of another site cannot send without a permission (CORS) that is
        never given.
        """
        host = self.headers.get("Host", "")
        if self.server.loopback and not is_local_name(host):
            self._refuse(HTTPStatus.FORBIDDEN, "this page is at localhost, and under no other domain")
            return False
        origin = self.headers.get("Origin")
        foreign = origin is not None and origin.partition("://")[2] != host and OWN_REQUEST not in self.headers
        if not public and (foreign or self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")):
            self._refuse(HTTPStatus.FORBIDDEN, "not for pages of other sites")
            return False
        return True

    def _stream(self, viewer: str) -> None:
        latest = self.server.latest
        with latest.viewer(viewer) as room:
            if not room:
                self._refuse(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"{VIEWERS} viewers are connected already; try again later"
                )
                return
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            self._start(HTTPStatus.OK, f"multipart/x-mixed-replace; boundary={BOUNDARY}", **UNBUFFERED)
            self.wfile.write(f"--{BOUNDARY}\r\n".encode())
            index = 0
            while (frame := latest.jpeg(index, RESEND)) is not None:
                index, jpeg = frame
                if index:
                    # A browser shows an image once it has read the boundary behind it.
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(b"%b%b\r\n--%b\r\n" % (head.encode(), jpeg, BOUNDARY.encode()))

    def _start(self, status: HTTPStatus, content_type: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in (HEADERS | {"Content-Type": content_type} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, content: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._start(status, content_type, **{"Content-Length": str(len(content))})
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._answer(f"{reason}\n".encode(), "text/plain; charset=utf-8", status)

    def version_string(self) -> str:
        """Return a name without versions, for the `Server` header."""
        return "pelee"

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing: the terminal belongs to the command."""


def _viewer(query: str) -> str:
    """Return the viewer's name in a query, `viewer=NAME`; "" without one."""
    named = re.fullmatch("viewer=([0-9a-z]{1,32})", query)
    return named[1] if named else ""
