"""Animated images (GIF, APNG, WebP, AVIF) and multi-page TIFF: detection of their kind, and their frames in order."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from data.images.rgb_conversion import to_rgb

#: Formats that hold several frames. The second image of a JPEG (MPO) is a preview or the other eye's.
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")
ANIMATED_SUFFIXES = frozenset({".gif", ".png", ".apng", ".webp", ".avif", ".tif", ".tiff"})
PAGE = Fraction(1)  # seconds that a frame without a duration is shown: a page of a TIFF
SHORTEST = Fraction(1, 50)  # seconds; shorter ones are shown for `INSTEAD`, as by browsers
INSTEAD = Fraction(1, 10)


def count_frames(path: Path | str) -> int:
    """Return the number of frames of an image, from its headers; 1 for a still image and for anything else.

    The pages of a TIFF are frames if all have one size: otherwise they are previews of the first.
    """
    try:
        with Image.open(path, formats=ANIMATED) as image:
            count = int(getattr(image, "n_frames", 1))
            if count > 1 and image.format == "TIFF":
                sizes = set()
                for page in range(count):
                    image.seek(page)
                    sizes.add(image.size)
                return count if len(sizes) == 1 else 1
            return count
    except Exception:  # Pillow raises errors of all kinds on damaged data; the reader will say which
        return 1


def read_frames(path: Path | str) -> Iterator[tuple[np.ndarray, Fraction]]:
    """Yield the frames of an animated image: (height, width, 3) uint8 RGB, and the seconds for which it is shown."""
    with Image.open(path, formats=ANIMATED) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            yield to_rgb(image, 1), _duration(image)


def _duration(image: Image.Image) -> Fraction:
    if image.format == "TIFF":
        return PAGE
    duration = Fraction(image.info.get("duration") or 0).limit_denominator(1000) / 1000
    return duration if duration >= SHORTEST else INSTEAD
