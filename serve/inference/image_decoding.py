"""Safe decoding of untrusted images: format by magic bytes, size limits checked before decompression."""

import io

import numpy as np
from PIL import Image, PngImagePlugin

from data.errors import ImageError
from data.images.image_io import read_image, read_size
from serve.errors import ServiceError
from serve.inference.image_structure import check_structure

ACCEPTED = "JPEG, PNG, WebP, BMP"
#: Text in a PNG, bytes after decompression: Pillow reads it with the header, before an image has its share of memory.
MAX_TEXT = 4_000_000
PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT  # Pillow's own limit is 67 MB; it has no other way to set it
JPEG_QUALITY = 92
MAX_JPEG_SIDE = 65_500  # pixels; of libjpeg
#: Memory of decoding in bytes a pixel, with the RGB array (3): of Pillow's image (4), with the coefficients of a JPEG
#: of several scans (up to 8), and with the canvases and the copies of WebP. Beside it, the arrays of one strip.
DECODED_BYTES, PROGRESSIVE_BYTES, WEBP_BYTES = 7, 12, 17
STRIP_BYTES = 16_000_000
#: Memory of an annotated image relative to that of decoding: the RGB array (3), Pillow's copy (4), and the JPEG (3).
ANNOTATED_SHARE = 10 / DECODED_BYTES


def check_image(content: bytes, max_pixels: int) -> int:
    """Check an image file by its header; return the bytes of memory that `decode_image` needs for it, at most.

    Raises:
        ServiceError: `empty`, `unsupported_picture`, `too_many_pixels`, `unreadable_picture`. The message contains
            nothing of the content.
    """
    if not content:
        raise ServiceError("empty", "the file is empty, expected an image")
    kind = image_format(content)
    if kind is None:
        raise ServiceError("unsupported_picture", f"the content is none of {ACCEPTED}; convert the image to one")
    scans = check_structure(content, kind)
    try:
        size = webp_size(content) if kind == "WebP" else None
        width, height = size or read_size(content)
    except ImageError as error:
        raise _decoding_error(error, content, max_pixels) from None
    if width * height > max_pixels:
        raise ServiceError(
            "too_many_pixels", f"{width} × {height} pixels, expected at most {max_pixels / 1e6:g} megapixels"
        )
    per_pixel = WEBP_BYTES if kind == "WebP" else PROGRESSIVE_BYTES if scans > 1 else DECODED_BYTES
    return STRIP_BYTES + per_pixel * width * height


def decode_image(content: bytes, max_pixels: int) -> np.ndarray:
    """Decode an image file that passed `check_image`, upright, to (H, W, 3) uint8 RGB; of an animation the first frame.

    Raises:
        ServiceError: `too_many_pixels`, `unreadable_picture`.
    """
    try:
        return read_image(content, max_pixels)
    except ImageError as error:
        raise _decoding_error(error, content, max_pixels) from None


def _decoding_error(error: ImageError, content: bytes, max_pixels: int) -> ServiceError:
    if "pixels" in str(error.__cause__):  # Pillow's own limit and the one of data.images.image_io
        return ServiceError("too_many_pixels", f"more than {max_pixels / 1e6:g} megapixels")
    if "text chunks" in str(error.__cause__):
        return ServiceError(
            "unreadable_picture", f"a PNG with more than {MAX_TEXT / 1e6:g} MB of text; remove the text"
        )
    return ServiceError("unreadable_picture", f"the {image_format(content)} is damaged or cut short; send it again")


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


def check_jpeg_size(width: int, height: int) -> None:
    """Raise `ServiceError` for an image that no JPEG can hold."""
    if max(width, height) > MAX_JPEG_SIDE:
        raise ServiceError(
            "annotation_too_large",
            f"{width} × {height} pixels; an annotated JPEG has sides of at most {MAX_JPEG_SIDE}; ask for JSON",
        )


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 RGB as JPEG; its size passed `check_jpeg_size`."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
