"""TIFF of all depths: every kind of sample gives the gray or color that is meant."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from data.errors import ImageError
from data.images.deep_tiff import read_deep_header
from data.images.image_io import read_image, read_size

RAMP = np.repeat(np.linspace(0, 1, 64)[None], 32, axis=0)
COLORS = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 0.5)], 2)
TOP = {"u1": 255, "u2": 65535, "u4": 2**32 - 1, "i1": 127, "i2": 32767, "i4": 2**31 - 1, "f4": 1, "f8": 1}


def tiff(
    values: np.ndarray, *, order: str = "<", bits: int = 0, photometric: int = 1, planar: int = 1, orientation: int = 1
) -> bytes:
    """Return an uncompressed TIFF of (H, W) or (H, W, 3) values; `bits` is 12 for packed ones."""
    height, width, channels = (*values.shape, 1)[:3]
    if bits == 12:
        rows = ["".join(f"{value:012b}" for value in row) for row in values.reshape(height, -1)]
        strips = [b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)]
    else:
        stored = values.astype(values.dtype.newbyteorder(order)).reshape(height, width, channels)
        strips = [stored[..., k].tobytes() for k in range(channels)] if planar == 2 else [stored.tobytes()]
    offsets = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    each, form = bits or 8 * values.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {
        256: [width], 257: [height], 258: [each] * channels, 259: [1], 262: [photometric], 273: offsets,
        274: [orientation], 277: [channels], 278: [height], 279: [len(strip) for strip in strips], 284: [planar],
        339: [form] * channels,
    }  # fmt: skip
    start = 8 + sum(map(len, strips))
    entries, lists = b"", b""
    for tag, numbers in tags.items():
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(data) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(lists)
            data, lists = struct.pack(f"{order}I", place), lists + data
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + data
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + b"".join(strips) + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + lists


def assert_close(image: np.ndarray, shares: np.ndarray) -> None:
    expected = 255 * (shares if shares.ndim == 3 else np.repeat(shares[..., None], 3, 2))
    assert image.shape == expected.shape and image.dtype == np.uint8
    assert np.abs(image - expected).max() <= 2.01


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", TOP)
def test_gray_of_every_kind_of_sample(kind: str, order: str) -> None:
    assert_close(read_image(tiff((RAMP * TOP[kind]).astype(kind), order=order)), RAMP)


@pytest.mark.parametrize("kind", ["i1", "i2", "i4"])
def test_negative_values_become_black(kind: str) -> None:
    values = RAMP * 2 * TOP[kind] - TOP[kind]
    assert_close(read_image(tiff(values.astype(kind))), RAMP)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_white_is_zero(kind: str, order: str) -> None:
    values = (TOP[kind] - RAMP * TOP[kind]).astype(kind)
    assert_close(read_image(tiff(values, order=order, photometric=0)), RAMP)


@pytest.mark.parametrize("order", ["<", ">"])
def test_twelve_bits(order: str) -> None:
    assert_close(read_image(tiff((RAMP * 4095).astype("u2"), order=order, bits=12)), RAMP)
    assert_close(read_image(tiff((RAMP * 2000).astype("u2"), order=order, bits=12)), RAMP * 2000 / 4095)
    assert_close(read_image(tiff((COLORS * 4095).astype("u2"), order=order, bits=12, photometric=2)), COLORS)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
def test_colors(kind: str, planar: int, order: str) -> None:
    values = (COLORS * TOP[kind]).astype(kind)
    assert_close(read_image(tiff(values, order=order, photometric=2, planar=planar)), COLORS)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_is_that_of_eight_bits(orientation: int) -> None:
    content = tiff((RAMP * TOP["i2"]).astype("i2"), orientation=orientation)
    plain = tiff((RAMP * 255).astype("u1"), orientation=orientation)
    image = read_image(content)
    assert read_size(content) == image.shape[1::-1] == read_size(plain)
    assert np.abs(image.astype(int) - read_image(plain)).max() <= 1


def test_a_constant_image_is_no_division_by_zero() -> None:
    assert read_image(tiff(np.full((8, 8), 1e6, "f8"))).max() == 0
    assert read_image(tiff(np.full((8, 8), 0.5, "f8"))).min() == 128


def test_what_cannot_be_decoded_is_one_line() -> None:
    content = tiff((RAMP * 1000).astype("f2"))
    with pytest.raises(ImageError, match="a TIFF of 16-bit samples of a kind that is not supported") as error:
        read_image(content)
    assert "\n" not in str(error.value)
    with pytest.raises(ImageError):
        read_image(tiff((RAMP * TOP["i4"]).astype("i4"))[:-300])


def test_an_image_that_is_too_large_is_not_decoded() -> None:
    with pytest.raises(ImageError, match="more than the limit"):
        read_image(tiff((RAMP * TOP["i2"]).astype("i2")), max_pixels=1000)


def test_other_files_are_left_to_pillow() -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "TIFF")
    for content in (file.getvalue(), b"", b"II*\0", b"II*\0" + b"\xff" * 60, b"\xff\xd8\xff"):
        stream = io.BytesIO(content)
        assert read_deep_header(stream) is None and stream.tell() == 0


def test_random_damage_is_an_image_error() -> None:
    rng = np.random.default_rng(0)
    content = tiff((COLORS * TOP["u2"]).astype("u2"), photometric=2, planar=2)
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(len(content) - 260, len(content), 3):  # in the directory
            damaged[place] = rng.integers(256)
        try:
            image = read_image(bytes(damaged), max_pixels=1 << 20)
        except ImageError:
            continue
        assert image.dtype == np.uint8 and image.ndim == 3
