"""Request bodies: read with a size limit, a timeout and a shared memory budget; files of multipart forms."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Any

from python_multipart.multipart import MultipartParser, parse_options_header

from serve.errors import ClientDisconnected, ServiceError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
MAX_PARTS = 100
FIELD = "file"
LARGE_FORM = 500_000  # bytes; parsing a form of this size takes the event loop's thread 5 ms


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
    async def read(self, receive: Receive, content_length: str | None) -> AsyncIterator[bytes]:
        """Yield the complete body, which counts as buffered until the block ends.

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
        try:
            try:
                async with asyncio.timeout(self.timeout):
                    await self._fill(body, receive)
            except TimeoutError:
                raise ServiceError(
                    "body_timeout", f"the body had not come whole after {self.timeout:g} s; send it faster"
                ) from None
            yield bytes(body)
        finally:
            self.buffered -= len(body)

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

    async def files(self, content_type: str, body: bytes, max_files: int) -> list[bytes]:
        """Files of a body, as in `files_in`; a large form is parsed in the executor."""
        if len(body) < LARGE_FORM:
            return files_in(content_type, body, max_files)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, files_in, content_type, body, max_files)

    def _too_large(self) -> ServiceError:
        return ServiceError("body_too_large", f"the body is larger than {self.max_body / 1e6:g} MB; send a smaller one")


def files_in(content_type: str, body: bytes, max_files: int) -> list[bytes]:
    """Files of a body: the fields named `file` of a multipart form, or the body itself if it is none.

    File names, content types and other fields are ignored: a file's format is detected from its content.

    Raises:
        ServiceError: `bad_multipart`, `too_many_parts`, `too_many_files`, `missing_file`, `empty`.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        files = _parse(options.get(b"boundary", b""), body)
        if not files:
            raise ServiceError("missing_file", f"the form has no field {FIELD!r}; send the image as that field")
    else:
        files = [body]
    if len(files) > max_files:
        raise ServiceError("too_many_files", f"{len(files)} files, expected at most {max_files}")
    if not any(files):
        raise ServiceError("empty", f"no bytes, expected an image as the body or as the form's field {FIELD!r}")
    return files


def _parse(boundary: bytes, body: bytes) -> list[bytes]:
    if not boundary:
        raise ServiceError(
            "bad_multipart", "multipart/form-data without a boundary; let the HTTP client set the header"
        )
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except ServiceError:
        raise
    except Exception:  # of any class: the parser runs on untrusted bytes
        form.ended = False
    if not form.ended:
        raise ServiceError("bad_multipart", "the form cannot be parsed or is cut short; let an HTTP client build it")
    return form.files


class _Form:
    """Parser callbacks that collect the files of the field `FIELD`."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.ended = False
        self._parts = 0
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())  # name, value
        self._file: bytearray | None = None  # content of the current part, None where it is not in `FIELD`

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._end_form,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ServiceError("too_many_parts", f"the form has more than {MAX_PARTS} parts")
        self._file = None

    def _end_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() == b"content-disposition":
            _, options = parse_options_header(value)
            self._file = bytearray() if options.get(b"name") == FIELD.encode() else None

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file += data[start:end]

    def _end(self) -> None:
        if self._file is not None:
            self.files.append(bytes(self._file))
            self._file = None

    def _end_form(self) -> None:
        self.ended = True
