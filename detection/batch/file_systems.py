"""File systems of addresses: local paths, s3://, gs://, http:// and others, through pyarrow and fsspec."""

import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import parse_qsl, quote, urlsplit

from data.errors import ImageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://.+")
#: Values of an address's query that may be a key, and are no part of a name.
SECRET = re.compile(r"signature|sig$|token|key|credential|secret|password|auth|expires", re.IGNORECASE)
#: Bytes of one image: larger ones are refused before they are read.
MAX_BYTES = 1 << 30
ATTEMPTS = 3  # to read an image over a network
PAUSE = 0.5  # seconds before the second attempt; twice as long before the third


def is_remote(source: str) -> bool:
    """Whether `source` is an address; anything else is a path."""
    return ADDRESS.fullmatch(source) is not None


def public_name(source: str) -> str:
    """Return an address without user, password and the values of its query that may be keys; a path as it is."""
    if not is_remote(source):
        return source
    parts = urlsplit(source)
    kept = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if not SECRET.search(key)]
    query = "&".join(f"{quote(key)}={quote(value)}" for key, value in kept)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return f"{place}?{query}" if query else place


def open_file_system(source: str) -> "tuple[FileSystem, str]":
    """Return the file system of a path or an address, and the path in it.

    Raises:
        ImageError: an address of a scheme that is not known, or whose package is not installed.
    """
    from pyarrow.fs import LocalFileSystem

    if not is_remote(source):
        return LocalFileSystem(), source
    scheme = source.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return _fsspec(scheme), source
    parts = urlsplit(source)
    # Options of a file system (region, endpoint_override) are in the query, credentials before the host.
    root = f"{parts.scheme}://{parts.netloc}" + (f"?{parts.query}" if parts.query else "")
    return _arrow(root, scheme), f"{parts.netloc.rpartition('@')[2]}{parts.path}"


@cache
def _arrow(root: str, scheme: str) -> "FileSystem":
    """Return pyarrow's file system of a bucket, or fsspec's where pyarrow has none of that scheme."""
    from pyarrow import ArrowInvalid, ArrowNotImplementedError
    from pyarrow.fs import FileSystem

    try:
        return FileSystem.from_uri(root)[0]
    except (ArrowInvalid, ArrowNotImplementedError):
        return _fsspec(scheme)


@cache
def _fsspec(scheme: str) -> "FileSystem":
    import fsspec
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        return PyFileSystem(FSSpecHandler(fsspec.filesystem(scheme)))
    except (ValueError, ImportError) as error:
        raise ImageError(f"{scheme}://: {str(error).splitlines()[0]}") from None


def open_stream(source: str) -> BinaryIO:
    """Open a file to read it from its begin to its end; OSError where it cannot be opened."""
    if not is_remote(source):
        return Path(source).open("rb")
    system, path = open_file_system(source)
    return system.open_input_stream(path)


def read_bytes(source: str) -> bytes:
    """Return the content of an address; an error of the network is tried again `ATTEMPTS` times.

    Raises:
        ImageError: it cannot be read, or has more than `MAX_BYTES`.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with open_stream(source) as file:
                content = file.read(MAX_BYTES + 1)
        except (FileNotFoundError, PermissionError) as error:
            raise ImageError(f"{public_name(source)}: {error.strerror or 'cannot be read'}") from error
        except Exception as error:  # aiohttp's errors are no OSError
            if attempt == ATTEMPTS:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise ImageError(f"{public_name(source)}: cannot be read: {reason}") from error
            time.sleep(PAUSE * attempt)
        else:
            if len(content) > MAX_BYTES:
                raise ImageError(f"{public_name(source)}: more than {MAX_BYTES} bytes")
            return content
    raise AssertionError("unreachable")


def list_remote(source: str) -> Iterator[str]:
    """Yield the addresses of the files at an address: a folder, a pattern, or the file itself.

    Files of an http server cannot be listed: its address is a file.

    Raises:
        OSError: the address cannot be listed, or nothing is there.
    """
    from fsspec.utils import glob_translate
    from pyarrow.fs import FileSelector, FileType

    scheme, _, rest = source.partition("://")
    if scheme.lower() in ("http", "https"):
        yield source
        return
    system, path = open_file_system(source)
    query = f"?{urlsplit(source).query}" if urlsplit(source).query and not re.search(r"[*\[]", rest) else ""
    user = rest.rpartition("@")[0] + "@" if "@" in rest.partition("/")[0] else ""
    if re.search(r"[*?\[]", path):
        base = re.split(r"[*?\[]", path, maxsplit=1)[0].rpartition("/")[0]
        pattern = re.compile(glob_translate(path))
        found = (info for info in system.get_file_info(FileSelector(base, recursive=True)) if pattern.match(info.path))
    else:
        info = system.get_file_info(path.rstrip("/"))
        if info.type == FileType.NotFound:
            raise FileNotFoundError(2, "no such file or folder", public_name(source))
        if info.type == FileType.File:
            yield source
            return
        found = iter(system.get_file_info(FileSelector(path.rstrip("/"), recursive=True)))
    for info in sorted((info for info in found if info.type == FileType.File), key=lambda info: info.path):
        yield f"{scheme}://{user}{info.path}{query}"
