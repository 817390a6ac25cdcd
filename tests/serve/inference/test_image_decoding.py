"""Decoding of untrusted images: formats by content, limits before decompression, modes and orientation."""

import io
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from serve.errors import ServiceError
from serve.inference.image_decoding import STRIP_BYTES, check_image, image_format, webp_size
from serve.inference.image_decoding import decode_image as decode_checked
from tests.support.fake_server import encoded, image
from tests.support.paths import ROOT

PIXELS = 25_000_000


def decode_image(content: bytes, max_pixels: int) -> np.ndarray:
    check_image(content, max_pixels)
    return decode_checked(content, max_pixels)


def refused(content: bytes, max_pixels: int = PIXELS) -> str:
    with pytest.raises(ServiceError) as caught:
        decode_image(content, max_pixels)
    assert "\n" not in caught.value.message
    return caught.value.code


def png_with_text(texts: int) -> bytes:
    """A small PNG with so many compressed texts of 1 MB."""
    text = PngImagePlugin.PngInfo()
    for index in range(texts):
        text.add_text(f"text{index}", "a" * 1_000_000, zip=True)
    return encoded(form="PNG", pnginfo=text)


def png_header(width: int, height: int, rest: int = 100_000) -> bytes:
    """A PNG that says so many pixels, and then holds zeros."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rest), 0))


@pytest.mark.parametrize(
    ("form", "name", "options"),
    [
        ("JPEG", "JPEG", {}),
        ("JPEG", "JPEG", {"progressive": True}),
        ("PNG", "PNG", {}),
        ("WEBP", "WebP", {"lossless": True}),
        ("WEBP", "WebP", {}),
        ("BMP", "BMP", {}),
    ],
)
def test_the_four_formats(form: str, name: str, options: dict) -> None:
    content = encoded(image(70, 50, 200), form, **options)
    assert image_format(content) == name
    found = decode_image(content, PIXELS)
    assert found.shape == (50, 70, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - 200).max() <= 2


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PPM"])
def test_other_formats_are_refused(form: str) -> None:
    assert refused(encoded(form=form)) == "unsupported_picture"


@pytest.mark.parametrize(
    "content", [b"x", b"BN", b"RIFF\0\0\0\0WAVE", b"<svg onload='alert(1)'/>", b"\x89PNG", b"\0" * 100]
)
def test_content_that_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(ServiceError, match="convert") as caught:
        decode_image(content, PIXELS)
    assert caught.value.code == "unsupported_picture" and "alert" not in caught.value.message


def test_an_empty_file_is_refused() -> None:
    assert refused(b"") == "empty"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_image_is_refused(form: str, share: float) -> None:
    rng = np.random.default_rng(0)
    whole = encoded(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8), form)
    assert refused(whole[: int(share * len(whole))]) == "unreadable_picture"


@pytest.mark.parametrize(
    "content",
    [
        png_header(100_000, 100_000),
        png_header(5001, 5000),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 10**5, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (16382).to_bytes(3, "little") * 2 + bytes(200),
        b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00" + bytes(1000),
    ],
    ids=["png", "png by one row", "bmp", "webp", "jpeg"],
)
def test_too_many_pixels_are_refused_by_the_header(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_image(encoded(), PIXELS)  # what Pillow imports is imported
    monkeypatch.setattr("serve.inference.image_decoding.read_image", lambda *_: pytest.fail("it was decoded"))
    tracemalloc.start()
    try:
        assert refused(content) == "too_many_pixels"
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss")
def test_a_decompression_bomb_takes_no_memory(tmp_path: Path) -> None:
    """What decoders take for themselves, tracemalloc does not see."""
    (tmp_path / "bomb").write_bytes(png_header(100_000, 100_000))
    (tmp_path / "good").write_bytes(encoded(form="PNG"))
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from serve.inference.image_decoding import check_image, decode_image\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "decode_image(Path(sys.argv[1], 'good').read_bytes(), 25_000_000)\nbefore = peak()\n"
        "try: check_image(Path(sys.argv[1], 'bomb').read_bytes(), 25_000_000)\n"
        "except Exception as error: print(error.code, (peak() - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    code, grown = done.stdout.split()
    assert code == "too_many_pixels" and int(grown) < 2  # MiB


@pytest.mark.slow
def test_the_text_of_a_png_is_bounded() -> None:
    assert decode_image(png_with_text(3), PIXELS).shape == (60, 80, 3)
    content = png_with_text(60)
    assert len(content) < 100_000
    tracemalloc.start()
    try:
        assert refused(content) == "unreadable_picture"
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("form", "options", "per_pixel"),
    [
        ("JPEG", {}, 7),
        ("JPEG", {"progressive": True}, 12),
        ("PNG", {}, 7),
        ("BMP", {}, 7),
        ("WEBP", {}, 17),
    ],
)
def test_the_memory_of_decoding_is_known_by_the_header(form: str, options: dict, per_pixel: int) -> None:
    content = encoded(image(70, 50), form, **options)
    assert check_image(content, PIXELS) == STRIP_BYTES + per_pixel * 70 * 50


MEASURE = """
import re, sys
from pathlib import Path
from PIL import Image, PngImagePlugin
from serve.inference.image_decoding import check_image, decode_image, encode_jpeg, ANNOTATED_SHARE
from serve.inference.memory import return_free_memory, set_malloc_thresholds
set_malloc_thresholds()
def status(name):
    return 1024 * int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
for path in sorted(Path(sys.argv[1]).iterdir()):
    content = path.read_bytes()
    allowed = check_image(content, 25_000_000)
    decode_image(content, 25_000_000)  # loads the decoder
    for share in (1, ANNOTATED_SHARE):
        return_free_memory()
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        image = decode_image(content, 25_000_000)
        if share > 1:
            encode_jpeg(image)
        del image
        print(path.name, (status("VmHWM") - before) / (share * allowed))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_decoding_takes_no_more_memory_than_it_was_admitted_with(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = Image.fromarray(rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)).resize((2000, 1500))
    gray = Image.fromarray(np.asarray(source.convert("L")).astype(np.uint16) * 257)
    for name, content in {
        "baseline": encoded(source),
        "progressive": encoded(source.convert("CMYK"), progressive=True),
        "palette": encoded(source.quantize(16), "PNG", transparency=3, compress_level=1),
        "rgba": encoded(source.convert("RGBA"), "PNG", compress_level=1),
        "gray": encoded(gray, "PNG", compress_level=1),
        "webp": encoded(source, "WEBP", method=0),
        "lossless": encoded(source.convert("RGBA"), "WEBP", lossless=True, method=0),
    }.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    shares = [(name, float(share)) for name, share in (line.split() for line in done.stdout.splitlines())]
    assert len(shares) == 14 and not [each for each in shares if not 0.2 < each[1] <= 1]


def test_the_limit_itself_is_allowed() -> None:
    content = encoded(image(50, 40), "PNG")
    assert decode_image(content, 2000).shape == (40, 50, 3)
    assert refused(content, 1999) == "too_many_pixels"


@pytest.mark.parametrize("lossless", [False, True])
def test_the_stored_size_of_a_webp(lossless: bool) -> None:
    assert webp_size(encoded(image(301, 17), "WEBP", lossless=lossless)) == (301, 17)
    transparent = Image.new("RGBA", (33, 200), (9, 9, 9, 9))
    assert webp_size(encoded(transparent, "WEBP", lossless=lossless)) == (33, 200)
    assert webp_size(b"RIFF\0\0\0\0WEBPVP8X") is None


def test_a_zip_behind_a_jpeg_is_a_jpeg() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x.txt", np.random.default_rng(1).bytes(300_000))
    content = encoded() + archive.getvalue()
    assert zipfile.is_zipfile(io.BytesIO(content))
    assert decode_image(content, PIXELS).shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (Image.new("CMYK", (20, 10), (0, 255, 255, 0)), "JPEG"),
        (Image.new("RGB", (20, 10), (255, 0, 0)).convert("P"), "PNG"),
        (Image.new("RGBA", (20, 10), (255, 0, 0, 255)), "PNG"),
    ],
    ids=["cmyk", "palette", "alpha"],
)
def test_modes_become_rgb(source: Image.Image, form: str) -> None:
    found = decode_image(encoded(source, form), PIXELS)
    assert found.shape == (10, 20, 3)
    assert np.abs(found[5, 10].astype(int) - (254, 0, 0)).max() < 16


def test_16_bit_grey() -> None:
    grey = Image.fromarray(np.full((10, 20), 257 * 100, np.uint16))
    assert (decode_image(encoded(grey, "PNG"), PIXELS) == 100).all()


def test_exif_is_applied() -> None:
    source = Image.new("RGB", (40, 20))
    exif = source.getexif()
    exif[0x0112] = 6
    assert decode_image(encoded(source, exif=exif), PIXELS).shape == (40, 20, 3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (10_000, 1), (1, 10_000)])
def test_images_of_extreme_shapes(width: int, height: int) -> None:
    assert decode_image(encoded(image(width, height)), PIXELS).shape == (height, width, 3)
