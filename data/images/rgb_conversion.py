"""Conversion of Pillow images of any mode to upright RGB arrays, strip by strip, within a bounded amount of memory."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from data.images.value_range import to_uint8, value_range

#: Pixels converted at a time. Intermediate arrays take up to 32 bytes a pixel (16-bit gray as float64), so 16 MB.
STRIP_PIXELS = 1 << 19
#: EXIF orientation -> transposition that makes the image upright (EXIF 2.32, table 6).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GRAY_MODES = ("I", "F")  # and I;16...: gray that Pillow's `convert` would clip at 255


def to_rgb(image: Image.Image, orientation: int) -> np.ndarray:
    """Convert a decoded image of any mode to RGB; transparency is composited onto white.

    Beside the image itself, which takes 1 to 4 bytes a pixel, this needs the 3 of its result, and the intermediate
    arrays of one strip.

    Args:
        image: decoded; (width, height) as stored.
        orientation: EXIF orientation, 1 to 8, that is applied.

    Returns:
        (height, width, 3) uint8 of the upright image, C-contiguous and writable.
    """
    width, height = image.size
    shape = (width, height, 3) if orientation >= 5 else (height, width, 3)
    rgb = np.empty(shape, np.uint8)
    gray = image.mode in _GRAY_MODES or image.mode.startswith("I;16")
    bounds = value_range(np.asarray(strip) for _, strip in _strips(image)) if gray else None
    for top, strip in _strips(image):
        if bounds is not None:
            strip = Image.fromarray(to_uint8(np.asarray(strip), *bounds))
        part = _upright_part(rgb, orientation, top, top + strip.height)
        strip = _strip_to_rgb(strip)
        part[:] = np.asarray(strip.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else strip)
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield strips of whole rows, of at most `STRIP_PIXELS` or one row, each with its first row's number."""
    width, height = image.size
    rows = max(1, STRIP_PIXELS // max(width, 1))
    if rows >= height:
        yield 0, image
        return
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _upright_part(rgb: np.ndarray, orientation: int, top: int, bottom: int) -> np.ndarray:
    """Part of an upright image's array, a view, that holds the rows `top` to `bottom` of the stored image."""
    if orientation in (3, 4, 6, 7):  # the first stored row is the last row or column
        end = rgb.shape[1 if orientation >= 5 else 0]
        top, bottom = end - bottom, end - top
    return rgb[:, top:bottom] if orientation >= 5 else rgb[top:bottom]


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
