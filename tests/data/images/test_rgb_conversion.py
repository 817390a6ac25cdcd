"""Conversion of images to RGB in strips: every mode and orientation as in one piece, within a bounded memory."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data.images import rgb_conversion
from data.images.rgb_conversion import to_rgb
from tests.support.paths import ROOT

WIDTH, HEIGHT = 13, 29


def random_image(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    alpha = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8))
    gray = np.asarray(rgb.convert("L"))
    match mode:
        case "I;16":
            return Image.fromarray(gray.astype(np.uint16) * 257)
        case "I":
            return Image.fromarray(gray.astype(np.int32) * 1000 - 7000)
        case "F":
            return Image.fromarray(np.where(gray > 250, np.nan, gray / 255).astype(np.float32))
        case "transparent palette":
            image = rgb.quantize(8)
            image.info["transparency"] = 3
            return image
        case "transparent RGB":
            rgb.info["transparency"] = rgb.getpixel((3, 20))
            return rgb
        case "RGBA" | "LA":
            image = rgb.convert(mode)
            image.putalpha(alpha)
            return image
    return rgb.convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "transparent palette", "transparent RGB"],
)
def test_strips_give_the_same_as_the_whole(mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = random_image(mode)
    whole = to_rgb(image, orientation)
    monkeypatch.setattr(rgb_conversion, "STRIP_PIXELS", 4 * WIDTH + 3)  # the last of eight strips has one row
    strips = to_rgb(image, orientation)
    assert strips.shape == ((WIDTH, HEIGHT, 3) if orientation >= 5 else (HEIGHT, WIDTH, 3))
    assert strips.flags["C_CONTIGUOUS"] and strips.flags["WRITEABLE"]
    assert len(np.unique(strips)) > 1
    np.testing.assert_array_equal(strips, whole)


def test_a_constant_image_of_unknown_range_is_black() -> None:
    assert (to_rgb(Image.fromarray(np.full((2, 3), 70_000, np.int32)), 1) == 0).all()


PEAK = """
import re
from pathlib import Path
import numpy as np
from PIL import Image
from data.images.rgb_conversion import to_rgb
to_rgb(Image.new("RGBA", (9, 9)), 6)
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
for mode in ("I;16", "I", "F", "LA", "RGBA", "CMYK", "RGB", "P"):
    to_rgb(Image.new(mode, (4000, 2500), 1), 6)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_seven_bytes_a_pixel_in_every_mode() -> None:
    grown = int(subprocess.run([sys.executable, "-c", PEAK], cwd=ROOT, check=True, capture_output=True).stdout)
    assert 3 * 10_000_000 < grown < 7 * 10_000_000 + 24_000_000
