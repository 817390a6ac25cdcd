"""Value range of images that are deeper than 8 bits, and their scaling to 0..255."""

from collections.abc import Iterable

import numpy as np

#: Largest values of the depths that are stored in wider integers: sensors have 10, 12 or 14 bits.
_DEPTHS = (255.0, 1023.0, 4095.0, 16383.0)


def value_range(parts: Iterable[np.ndarray]) -> tuple[float, float]:
    """Return the values that become 0 and 255, from all values of an image.

    For values that are not negative they are 0 and the largest value of the smallest depth that holds them: 8, 10, 12,
    14 or 16 bits (15 for signed 16-bit integers); for floating-point values 1, 255 or 65535. Otherwise they are the
    smallest and the largest value.

    Args:
        parts: parts of the image, of any shape, at least one.
    """
    low, high, kind = np.inf, -np.inf, np.dtype(np.uint16)
    for part in parts:
        values = _finite(part)
        low, high, kind = min(low, float(values.min())), max(high, float(values.max())), part.dtype
    if np.issubdtype(kind, np.floating):
        tops: tuple[float, ...] = (1.0, 255.0, 65535.0)
    elif kind == np.int8:
        tops = (127.0,)
    else:
        tops = (*_DEPTHS, 32767.0 if kind == np.int16 else 65535.0)
    top = next((top for top in tops if low >= 0 and high <= top), None)
    return (low, high) if top is None else (0.0, top)


def to_uint8(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale values from `low`..`high` to 0..255, as uint8 of the same shape; a constant image is black."""
    scaled = _finite(values).astype(np.float64)
    scaled -= low
    scaled *= 255.0 / (high - low or 1.0)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _finite(values: np.ndarray) -> np.ndarray:
    """Values with 0 for those that are not finite."""
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if values.dtype.kind == "f" else values
