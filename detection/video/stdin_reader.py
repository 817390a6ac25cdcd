"""Stdin reader: a sequence of images, each answered before the next must come."""

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

from data.errors import ImageError
from data.images import jpeg
from data.images.image_io import read_image
from detection.video.frames import Frame

MOST_BYTES = 256 * 2**20  # of one image
POLL = 0.1  # seconds between two checks for `close`


class ImageStream:
    """Images from a pipe, in one of two forms, told apart by the first two bytes.

    The forms are concatenated JPEGs, and images of any format, each preceded by its length (4 bytes, big-endian).
    """

    def __init__(self, descriptor: int | None = None, on_damage: Callable[[str], None] | None = None) -> None:
        """Set the file descriptor (None for stdin's), and what takes warnings of images that are cut off.

        Without `on_damage` such an image is an error.
        """
        self._on_damage = on_damage
        self._descriptor = sys.stdin.buffer.fileno() if descriptor is None else descriptor
        self._buffer = bytearray()
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame | ImageError]:
        """Yield images with their arrival times; an `ImageError` in place of one that cannot be read.

        Raises:
            ImageError: the stream ends inside an image, or has neither of the two forms.
        """
        index = 0
        begin: float | None = None
        while not self._closed.is_set():
            data = self._next(index)
            if data is None:
                return
            now = time.monotonic()
            begin = now if begin is None else begin
            try:
                image = read_image(data, on_damage=self._warner(index))
            except ImageError as error:
                yield ImageError(_named(index, str(error)))
            else:
                yield Frame(index, Fraction(round(1000 * (now - begin)), 1000), image)
            index += 1

    def close(self) -> None:
        """End an iteration that waits for bytes in another thread."""
        self._closed.set()

    def _warner(self, index: int) -> Callable[[str], None] | None:
        on_damage = self._on_damage
        return None if on_damage is None else lambda warning: on_damage(_named(index, warning))

    def _next(self, index: int) -> bytes | None:
        """Return the bytes of the next image; None at the end."""
        if not self._fill(2):
            if self._buffer and not self._closed.is_set():
                raise ImageError(f"stdin: ends inside image {index}")
            return None
        if self._buffer.startswith(jpeg.START):
            try:
                size = jpeg.jpeg_length(self._buffer, lambda size: self._need(size, index))
            except ValueError:
                raise ImageError(f"stdin: image {index} is a damaged JPEG, and where it ends cannot be told") from None
        else:
            self._need(4, index)
            size = 4 + int.from_bytes(self._buffer[:4], "big")
            if not 4 < size <= MOST_BYTES:
                raise ImageError(
                    f"stdin: image {index} begins with {bytes(self._buffer[:4]).hex(' ')}; expected a JPEG, or 4 "
                    "bytes of length (big-endian) and then an image"
                )
            del self._buffer[:4]
            size -= 4
        self._need(size, index)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _need(self, size: int, index: int) -> None:
        if size > MOST_BYTES:
            raise ImageError(f"stdin: image {index} has no end within {MOST_BYTES >> 20} MiB")
        if not self._fill(size):
            raise ImageError(f"stdin: ends inside image {index}")

    def _fill(self, size: int) -> bool:
        """Read until the buffer holds `size` bytes; return whether it does."""
        while len(self._buffer) < size:
            # Windows cannot wait for a pipe; there ctrl-C takes effect with the next bytes.
            while sys.platform != "win32" and not select.select([self._descriptor], [], [], POLL)[0]:
                if self._closed.is_set():
                    return False
            data = os.read(self._descriptor, 1 << 16)
            if not data:
                return False
            self._buffer += data
        return True


def _named(index: int, message: str) -> str:
    """Return a message about an image's bytes with the image's place in the stream."""
    return f"image {index} on stdin: {message.partition(': ')[2] or message}"
