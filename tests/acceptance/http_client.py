"""A small HTTP client for measuring: one connection, requests made beforehand, next to no work of its own."""

import asyncio
import re
import time
from typing import NamedTuple, Self

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)")


class Reply(NamedTuple):
    """An answer: its status, its body, and the seconds from the request's first byte to the answer's last."""

    status: int
    body: bytes
    seconds: float


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """A whole POST request; `headers` are lines that end in CRLF."""
    head = f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def get(path: str) -> bytes:
    """A whole GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: load\r\n\r\n".encode()


class Connection:
    """A connection that is opened when it is needed, and again when the server has closed it."""

    def __init__(self, port: int) -> None:
        """Take the port on this machine."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Reply:
        """Send a request and read its answer. Raises `ConnectionError` where there is none."""
        start = time.perf_counter()
        reused = self._streams is not None
        try:
            return await self._exchange(request, start)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            if not reused:
                raise ConnectionError("the server closed the connection without an answer") from None
        return await self._exchange(request, start)  # it had been idle for too long

    async def _exchange(self, request: bytes, start: float) -> Reply:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        body = await reader.readexactly(int(found[1])) if found else b""
        return Reply(int(head[9:12]), body, time.perf_counter() - start)

    async def leave(self, request: bytes) -> None:
        """Send a request and go, without waiting for the answer."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request)
        await writer.drain()
        writer.transport.abort()

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close it."""
        self.close()
