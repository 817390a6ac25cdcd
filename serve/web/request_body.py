"""A request's body: read with a cap, a deadline and a budget; and the files in it where it is a form."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from python_multipart.multipart import MultipartParser, parse_options_header

from serve.errors import ClientGone, ServiceError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
MAX_PARTS = 100
FIELD = "file"


class BodyReader:
    """Reads bodies; of all that are in memory at a time it knows the bytes."""

    def __init__(self, max_body: int, max_buffered: int, timeout: float) -> None:
        """Take the most bytes of one body, the most of all together, and the seconds that one may take."""
        self.max_body = max_body
        self.max_buffered = max_buffered
        self.timeout = timeout
        self.buffered = 0

    @asynccontextmanager
    async def read(self, receive: Receive, content_length: str | None) -> AsyncIterator[bytes]:
        """Yield the whole body; its bytes count until the block ends.

        Args:
            receive: ASGI's.
            content_length: the header, which is believed only where it is too large.

        Raises:
            ServiceError: `body_too_large`, before a byte is read where the header says so; `body_timeout`; `busy`.
            ClientGone: the client left before the end.
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
                raise ClientGone
            chunk = message.get("body", b"")
            if len(body) + len(chunk) > self.max_body:
                raise self._too_large()
            if self.buffered + len(chunk) > self.max_buffered:
                raise ServiceError("busy", "too many bodies are being received; ask again", retry_after=1)
            body += chunk
            self.buffered += len(chunk)
            more = message.get("more_body", False)

    def _too_large(self) -> ServiceError:
        return ServiceError("body_too_large", f"the body is larger than {self.max_body / 1e6:g} MB; send a smaller one")


def files_in(content_type: str, body: bytes, max_files: int) -> list[bytes]:
    """The files of a body: those in the fields named `file` of a form, or the body itself where it is none.

    Names, types and other fields are of no interest: what a file is, its content says.

    Raises:
        ServiceError: a form that cannot be parsed or has too many parts or files, no file, an empty one.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        files = _parse(options.get(b"boundary", b""), body)
        if not files:
            raise ServiceError("missing_file", f"the form has no field {FIELD!r}; send the picture as that field")
    else:
        files = [body]
    if len(files) > max_files:
        raise ServiceError("too_many_files", f"{len(files)} files, expected at most {max_files}")
    if not any(files):
        raise ServiceError("empty", f"no bytes, expected a picture as the body or as the form's field {FIELD!r}")
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
    except Exception:  # its errors have several classes, and the library is no place to trust with strangers' bytes
        form.ended = False
    if not form.ended:
        raise ServiceError("bad_multipart", "the form cannot be parsed or is cut short; let an HTTP client build it")
    return form.files


class _Form:
    """Collects the parts of a form in the field `FIELD`."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.ended = False
        self._parts = 0
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())  # name, value
        self._file: bytearray | None = None  # the part that is being read, where it is wanted

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
