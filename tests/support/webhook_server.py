"""HTTP server that notes posted events and answers as the test wants."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Posted(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes
    answer: int


class WebhookServer:
    """Server on a free port.

    Attributes:
        posts: all requests.
        answers: status and headers of the next answers; 204 after them.
    """

    def __init__(self) -> None:
        self.posts: list[Posted] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers = server.answers.pop(0) if server.answers else (204, {})
                names = {name.lower(): value for name, value in self.headers.items()}
                server.posts.append(Posted(self.path, names, body, status))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("content-length", "0")
                self.end_headers()

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/hook?token=of-the-address"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
