"""Safe decoding of untrusted images: format by magic bytes, size limits checked before decompression."""

import io

import numpy as np
from PIL import Image

from data.errors import ImageError
from data.images.image_io import read_image, read_size
from data.images.jpeg import count_scans
from serve.errors import ServiceError

ACCEPTED = "JPEG, PNG, WebP, BMP"
#: Progressive JPEGs have about ten scans. Each is a pass over the whole image, even where it is empty: a small file
#: of thousands would keep a decoder busy for minutes.
MAX_SCANS = 100
JPEG_QUALITY = 92


def decode_image(content: bytes, max_pixels: int) -> np.ndarray:
    """Decode an image file, upright, to (H, W, 3) uint8 RGB; of an animation the first frame.

    Raises:
        ServiceError: `empty`, `unsupported_picture`, `too_many_pixels`, `unreadable_picture`. The message contains
            nothing of the content.
    """
    if not content:
        raise ServiceError("empty", "the file is empty, expected an image")
    kind = image_format(content)
    if kind is None:
        raise ServiceError("unsupported_picture", f"the content is none of {ACCEPTED}; convert the image to one")
    if kind == "JPEG" and count_scans(content, MAX_SCANS) > MAX_SCANS:
        raise ServiceError("unreadable_picture", f"a JPEG of more than {MAX_SCANS} scans; save the image again")
    try:
        size = webp_size(content) if kind == "WebP" else None
        width, height = size or read_size(content)
        if width * height > max_pixels:
            raise ServiceError(
                "too_many_pixels", f"{width} × {height} pixels, expected at most {max_pixels / 1e6:g} megapixels"
            )
        return read_image(content, max_pixels)
    except ImageError as error:
        if "pixels" in str(error.__cause__):  # Pillow's own limit and the one of data.images.image_io
            raise ServiceError("too_many_pixels", f"more than {max_pixels / 1e6:g} megapixels") from None
        raise ServiceError("unreadable_picture", f"the {kind} is damaged or cut short; send it again") from None


def image_format(content: bytes) -> str | None:
    """Format of an image file by its magic bytes, one of `ACCEPTED`; None for any other content."""
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    return "BMP" if content.startswith(b"BM") else None


def webp_size(webp: bytes) -> tuple[int, int] | None:
    """(width, height) from a WebP's first chunk; None where it has none.

    Pillow allocates memory for all pixels before it reports the size.
    """
    chunk, head = webp[12:16], webp[20:30]
    if len(head) < 10:
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if chunk == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    if chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 RGB as JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
