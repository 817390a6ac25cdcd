"""JPEG markers: the length of an image in a stream, and its scans."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from data.images.jpeg import jpeg_length


def encoded(width: int = 64, thumbnail: bool = False, **options: object) -> bytes:
    """A JPEG of noise, on demand with another one inside one of its segments, as cameras write it."""
    noise = np.random.default_rng(2).integers(0, 255, (64, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", **options)
    data = file.getvalue()
    if not thumbnail:
        return data
    inner = encoded(16)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner + data[2:]


def reader(data: bytes, piece: int, buffer: bytearray) -> Callable[[int], None]:
    """A function that fills `buffer` to a size, in pieces; EOFError where there is no more."""
    rest = memoryview(data)

    def need(size: int) -> None:
        nonlocal rest
        while len(buffer) < size:
            if not rest:
                raise EOFError
            buffer.extend(rest[:piece])
            rest = rest[piece:]

    return need


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(), id="baseline"),
        pytest.param(encoded(thumbnail=True), id="thumbnail"),
        pytest.param(encoded(progressive=True), id="progressive"),
        pytest.param(encoded(restart_marker_blocks=1), id="restarts"),
    ],
)
def test_the_length_of_the_first_of_several(data: bytes, piece: int) -> None:
    buffer = bytearray()
    assert jpeg_length(buffer, reader(data + encoded(32), piece, buffer)) == len(data)


def test_a_stream_that_ends_too_early() -> None:
    buffer = bytearray()
    with pytest.raises(EOFError):
        jpeg_length(buffer, reader(encoded()[:-2], 100, buffer))


def test_no_marker_where_one_must_be() -> None:
    buffer = bytearray()
    with pytest.raises(ValueError, match="no JPEG marker"):
        jpeg_length(buffer, reader(b"\xff\xd8\x00\x00\x00\x00", 100, buffer))
