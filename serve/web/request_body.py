"""Request bodies: read with a size limit, a timeout and a shared memory budget; files of multipart forms."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Any

from python_multipart.multipart import parse_options_header

from serve.errors import ClientDisconnected, ServiceError, short

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
MAX_PARTS = 100
FIELD = "file"
MAX_PART_HEADER = 8192  # bytes; a file name of 255 characters in any script takes up to 5 kB
MAX_SEMICOLONS = 32  # of a header, whose parser takes time in proportion to their number; three are usual
_DISPOSITION = re.compile(rb"\r\ncontent-disposition[ \t]*:([^\r\n]*)", re.IGNORECASE)
SEARCHED_AT_ONCE = 1_000_000  # bytes; a search keeps other threads waiting, for up to 8 ms
#: Bytes of a form, and empty lines in it. Parsing so much takes up to 2 ms of the event loop's thread; the header of a
#: part, which ends with an empty line, takes up to 0.2 ms.
LARGE_FORM, MANY_HEADERS = 500_000, 4


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client of an HTTP request, whose body has been read, has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


class BodyReader:
    """Reader of request bodies with limits.

    Attributes:
        max_body: maximum size of one body, bytes.
        max_buffered: maximum size of all bodies in memory together, bytes.
        timeout: seconds that one body may take.
        buffered: size of the bodies in memory, bytes.
    """

    def __init__(self, max_body: int, max_buffered: int, timeout: float, executor: Executor | None = None) -> None:
        """Set the limits; `executor` parses large forms, None for asyncio's own."""
        self.max_body = max_body
        self.max_buffered = max_buffered
        self.timeout = timeout
        self.buffered = 0
        self._executor = executor

    @asynccontextmanager
    async def read(self, receive: Receive, content_length: str | None) -> AsyncIterator[bytearray]:
        """Yield the complete body, which counts as buffered until the block ends. `files` takes its content.

        Args:
            receive: the ASGI callable.
            content_length: the header; used only to reject a body early.

        Raises:
            ServiceError: `body_too_large`, before a byte is read where the header says so; `body_timeout`; `busy`.
            ClientDisconnected: the client disconnected first.
        """
        if content_length is not None and content_length.isdecimal() and int(content_length) > self.max_body:
            raise self._too_large()
        body = bytearray()
        size = 0
        try:
            try:
                async with asyncio.timeout(self.timeout):
                    await self._fill(body, receive)
            except TimeoutError:
                raise ServiceError(
                    "body_timeout", f"the body had not come whole after {self.timeout:g} s; send it faster"
                ) from None
            finally:
                size = len(body)
            yield body
        finally:
            self.buffered -= size

    async def _fill(self, body: bytearray, receive: Receive) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            chunk = message.get("body", b"")
            if len(body) + len(chunk) > self.max_body:
                raise self._too_large()
            if self.buffered + len(chunk) > self.max_buffered:
                raise ServiceError("busy", "too many bodies are being received; ask again", retry_after=1)
            body += chunk
            self.buffered += len(chunk)
            more = message.get("more_body", False)

    async def files(self, content_type: str, body: bytearray, max_files: int) -> list[bytes]:
        """Take the files of a body, as in `files_in`; a large body, or one of many parts, is parsed in the executor.

        The body is empty afterwards, so that its bytes are in memory once.
        """
        if len(body) < LARGE_FORM and body.count(b"\r\n\r\n") <= MANY_HEADERS:
            files = files_in(content_type, body, max_files)
        else:
            loop = asyncio.get_running_loop()
            files = await loop.run_in_executor(self._executor, files_in, content_type, body, max_files)
        body.clear()
        return files

    def _too_large(self) -> ServiceError:
        return ServiceError("body_too_large", f"the body is larger than {self.max_body / 1e6:g} MB; send a smaller one")


def files_in(content_type: str, body: bytes | bytearray, max_files: int) -> list[bytes]:
    """Files of a body: the fields named `file` of a multipart form, or the body itself if it is none.

    File names and content types are ignored: a file's format is detected from its content.

    Raises:
        ServiceError: `bad_multipart`, `too_many_parts`, `too_many_files`, `missing_file`, `empty`; `invalid_parameter`
            for a form with another field, such as an option that belongs in the query.
    """
    kind = content_type.partition(";")[0].strip().lower()
    files = _files_of_form(content_type.encode("latin-1"), body) if kind == "multipart/form-data" else [bytes(body)]
    if len(files) > max_files:
        raise ServiceError("too_many_files", f"{len(files)} files, expected at most {max_files}")
    if not any(files):
        raise ServiceError("empty", f"no bytes, expected an image as the body or as the form's field {FIELD!r}")
    return files


def _files_of_form(content_type: bytes, body: bytes | bytearray) -> list[bytes]:
    boundary = _parameters(content_type).get(b"boundary", b"")
    if not boundary:
        raise ServiceError(
            "bad_multipart", "multipart/form-data without a boundary; let the HTTP client set the header"
        )
    files, others = [], []
    for name, start, end in _parts(boundary, body):
        if name == FIELD:
            with memoryview(body) as view:
                files.append(bytes(view[start:end]))
        else:
            others.append(name)
    if not files:
        raise ServiceError("missing_file", f"the form has no field {FIELD!r}; send the image as that field")
    if others:
        raise ServiceError(
            "invalid_parameter", f"unknown form field {short(others[0])}; options belong in the query of the URL"
        )
    return files


def _parts(boundary: bytes, body: bytes | bytearray) -> Iterator[tuple[str, int, int]]:
    """Yield the name, and the start and end of the content, of each part of a form (RFC 7578; RFC 2046, section 5.1).

    Parts are found by searching for the delimiter: a parser that looks at each byte (python-multipart) takes seconds
    for 10 MB that are full of beginnings of delimiters, a search some milliseconds.

    Raises:
        ServiceError: `bad_multipart`, `too_many_parts`.
    """
    delimiter = b"\r\n--" + boundary
    position = 0 if body.startswith(delimiter[2:]) else _find(body, delimiter, 0) + 2
    if position == 1:
        raise _bad_form()
    position += len(delimiter) - 2
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", position):
            return
        line_end = body.find(b"\r\n", position, position + MAX_PART_HEADER)
        header_end = body.find(b"\r\n\r\n", line_end, line_end + MAX_PART_HEADER)
        start = header_end + 4
        end = _find(body, delimiter, start)
        if -1 in (line_end, header_end, end) or body[position:line_end].strip(b" \t"):
            raise _bad_form()
        yield _field_name(bytes(body[line_end:header_end])), start, end
        position = end + len(delimiter)
    if not body.startswith(b"--", position):
        raise ServiceError("too_many_parts", f"the form has more than {MAX_PARTS} parts")


def _find(body: bytes | bytearray, delimiter: bytes, start: int) -> int:
    """Position of the first delimiter from `start` on; -1 where there is none."""
    for position in range(start, len(body), SEARCHED_AT_ONCE):
        found = body.find(delimiter, position, position + SEARCHED_AT_ONCE + len(delimiter) - 1)
        if found >= 0:
            return found
    return -1


def _field_name(header: bytes) -> str:
    """Name of a part, from its Content-Disposition; empty where there is none."""
    found = _DISPOSITION.search(header)
    return "" if found is None else _parameters(found[1]).get(b"name", b"").decode(errors="replace")


def _parameters(header: bytes) -> dict[bytes, bytes]:
    """Parameters of a header's value."""
    if header.count(b";") > MAX_SEMICOLONS:
        raise _bad_form()
    try:
        return parse_options_header(header)[1]
    except Exception:  # of any class: the parser runs on untrusted bytes
        raise _bad_form() from None


def _bad_form() -> ServiceError:
    return ServiceError("bad_multipart", "the form cannot be parsed or is cut short; let an HTTP client build it")
