"""Images that are a range of bytes of a larger file: `Shard`, the file, and `ImageSlice`, one image in it."""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import DatasetError, ImageError

_REMEDY = "copy the shard again, or pack the dataset again"


class Shard:
    """File that holds many images.

    It is opened for each read, like the file of an image, so that a shard may be read by several threads and processes.

    Args:
        path: the file.
        size: its size in bytes.
        sha256: its SHA-256, in hexadecimal.
        in_memory: keep the file's content in memory. Processes that are forked share it; others read their own.
    """

    def __init__(self, path: Path, size: int, sha256: str, in_memory: bool = False) -> None:
        self.path, self.size, self.sha256, self.in_memory = path, size, sha256, in_memory
        self._content: bytes | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_content": None}

    def check(self) -> None:
        """Raise DatasetError for a file that is missing or of another size; in memory, also for one that was altered.

        In memory the whole file is read here. On disk an alteration is found when its image is read.
        """
        try:
            found = self.path.stat().st_size
        except OSError as error:
            raise DatasetError(f"{self.path}: {error.strerror}; {_REMEDY}") from error
        if found != self.size:
            raise DatasetError(f"{self.path}: {found} bytes, but the index has {self.size}; {_REMEDY}")
        if self.in_memory:
            self.load()

    def load(self) -> bytes:
        """Return the content, read and compared with the checksum at the first call."""
        if self._content is None:
            content = self.path.read_bytes()
            if hashlib.sha256(content).hexdigest() != self.sha256:
                raise DatasetError(f"{self.path}: its SHA-256 is not that of the index; {_REMEDY}")
            self._content = content
        return self._content

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer where the file is too short."""
        if self.in_memory:
            return self.load()[offset : offset + length]
        with self.path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)


@dataclass(frozen=True, slots=True)
class ImageSlice:
    """Image stored in a shard.

    Attributes:
        shard: the file.
        name: name of the image in it.
        offset: position of its first byte in the shard.
        length: its number of bytes.
        crc32: CRC-32 of these bytes.
    """

    shard: Shard
    name: str
    offset: int
    length: int
    crc32: int

    def __str__(self) -> str:
        return f"{self.shard.path}/{self.name}"

    def read_bytes(self) -> bytes:
        """Return the bytes of the image; ImageError where they are missing or altered."""
        try:
            content = self.shard.read(self.offset, self.length)
        except OSError as error:
            raise ImageError(f"{self}: {error.strerror or error}") from error
        cut = len(content) != self.length
        # Memory was compared with the checksum when it was loaded.
        if cut or not (self.shard.in_memory or zlib.crc32(content) == self.crc32):
            found = "cut" if cut else "altered"
            raise ImageError(f"{self}: the shard was {found} after it was packed; {_REMEDY}")
        return content


ImageFile = Path | ImageSlice
"""Image as a record has it: a file of its own, or a part of a shard."""


def stored_length(image: ImageFile) -> int:
    """Return the bytes of an image as it is stored; OSError for a file that is missing."""
    return image.length if isinstance(image, ImageSlice) else image.stat().st_size
