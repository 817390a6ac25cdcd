"""An HTTP server of archives that interrupts, changes and refuses on demand."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from data.download.fetch_dataset import download
from data.download.sources import DownloadPart, DownloadSource

FILES = {"set/list.txt": b"1\n2\n", "set/image.jpg": bytes(range(256)) * 400}


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


class Seen(NamedTuple):
    path: str
    range: str | None
    if_range: str | None


class Server:
    """A server with switches: `content` by path, and how it misbehaves."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.etag: str | None = '"1"'
        self.ranges = True
        self.cut_after: list[int | None] = []  # one for each answer: bytes of the body until the connection is cut
        self.status: list[int] = []  # answers before all others
        self.seen: list[Seen] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        self.seen.append(Seen(handler.path, asked, condition))
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        content = self.content.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        total, start = len(content), 0
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        if match and self.ranges and condition in (None, self.etag):
            start = int(match[1])
            if start >= total:
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{total}")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            handler.send_response(200)
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(total - start))
        handler.end_headers()
        cut = self.cut_after.pop(0) if self.cut_after else None
        handler.wfile.write(content[start:] if cut is None else content[start : start + cut])
        handler.wfile.flush()


def serve(
    server: Server, archive: bytes | None = None, name: str = "set.tar", holds: str = "set/list.txt"
) -> DownloadSource:
    """Put an archive on the server; the source that describes it."""
    content = tar(FILES) if archive is None else archive
    server.content[f"/files/{name}"] = content
    return DownloadSource(server.url, {"train": DownloadPart(f"files/{name}", hashlib.md5(content).hexdigest(), holds)})


def fetch(source: DownloadSource, root: Path, **options: Any) -> list[str]:
    return download(source, root, **({"waits": (0, 0), "timeout": 10} | options))


def state(root: Path) -> set[str]:
    return {path.name for path in (root / ".downloads").iterdir()}


def assert_unpacked(root: Path) -> None:
    for name, content in FILES.items():
        assert (root / name).read_bytes() == content
