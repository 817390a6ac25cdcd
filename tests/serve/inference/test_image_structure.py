"""Bounds on the parts of an image file."""

import struct
import zlib

import numpy as np
import pytest

from serve.errors import ServiceError
from serve.inference import image_structure
from serve.inference.image_decoding import check_image, decode_image
from serve.inference.image_structure import MAX_PARTS, MAX_RLE_BMP, MAX_SCANS, check_structure
from tests.support.fake_server import encoded

PIXELS = 25_000_000
JPEG, PNG = encoded(), encoded(form="PNG")
HEAD = 20  # bytes of a JPEG up to the end of its first segment


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rle_bmp(width: int, height: int, value: int) -> bytes:
    """An 8-bit BMP of runs of one pixel each."""
    runs = (bytes((1, value)) * width + b"\0\0") * height + b"\0\1"
    offset = 14 + 40 + 1024
    head = struct.pack("<IHHI", offset + len(runs), 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + head + info + b"".join(bytes((level, level, level, 0)) for level in range(256)) + runs


def many_parts(count: int) -> dict[str, bytes]:
    """Images of so many parts each, of which Pillow reads all before it knows the size, or while it decodes."""
    return {
        "chunks before the pixels": PNG[:33] + png_chunk(b"abCd") * count + PNG[33:],
        "texts": PNG[:33] + png_chunk(b"tEXt", b"a\0b") * count + PNG[33:],
        "chunks after the pixels": PNG[:-12] + png_chunk(b"abCd") * count + PNG[-12:],
        "comments": JPEG[:HEAD] + b"\xff\xfe\x00\x02" * count + JPEG[HEAD:],
        "fill bytes": JPEG[:HEAD] + b"\xff" * count + JPEG[HEAD:],
        "zeros": JPEG[:HEAD] + b"\0" * count + JPEG[HEAD:],
        "escaped bytes": JPEG[:HEAD] + b"\xff\0" * count + JPEG[HEAD:],
        "restarts": JPEG[:HEAD] + b"\xff\xd0" * count + JPEG[HEAD:],
        "starts": JPEG[:HEAD] + b"\xff\xd8" * count + JPEG[HEAD:],
        # Read as a length, the bytes after the first marker would hide those that follow.
        "starts, each with what looks like a length": JPEG[:HEAD] + (b"\xff\xd8\xff\xfe\x00\x02") * count + JPEG[HEAD:],
        "comments after a scan": JPEG[:-2] + b"\xff\xfe\x00\x02" * count + JPEG[-2:],
    }


@pytest.mark.parametrize("name", many_parts(1))
def test_an_image_of_very_many_parts_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.inference.image_decoding.read_size", lambda *_: pytest.fail("Pillow has read it"))
    with pytest.raises(ServiceError, match="parts; save the image again") as caught:
        check_image(many_parts(MAX_PARTS)[name], PIXELS)
    assert caught.value.code == "unreadable_picture"


@pytest.mark.parametrize("name", many_parts(1))
def test_some_thousand_parts_are_no_fault(name: str) -> None:
    content = many_parts(3000)[name]
    check_structure(content, "PNG" if content.startswith(b"\x89") else "JPEG")


def test_the_data_of_scans_is_no_part() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    content = encoded(noise, quality=95, restart_marker_blocks=1)
    assert len(content) > 5 * MAX_PARTS
    assert check_image(content, PIXELS) and decode_image(content, PIXELS).shape == (400, 400, 3)


def test_scans_are_counted() -> None:
    progressive = encoded(progressive=True)
    scans = check_structure(progressive, "JPEG")
    assert check_structure(JPEG, "JPEG") == check_structure(PNG, "PNG") == 1 < 6 <= scans <= 12
    # The thumbnail is a JPEG within a segment.
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(progressive)) + progressive
    assert check_structure(progressive[:HEAD] + thumbnail + progressive[HEAD:], "JPEG") == scans
    assert check_structure(b"\xff\xd8\xff", "JPEG") == 0


def test_a_jpeg_of_a_thousand_scans_is_not_decoded() -> None:
    whole = encoded(progressive=True)
    scan = whole.rindex(b"\xff\xda")
    with pytest.raises(ServiceError, match=f"more than {MAX_SCANS} scans") as caught:
        check_image(whole[:scan] + whole[scan:-2] * 1000 + whole[-2:], PIXELS)
    assert caught.value.code == "unreadable_picture"


@pytest.mark.parametrize("window", [1, 2, 3, 7, 1000])
def test_a_marker_between_two_searches_is_found(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(progressive=True)
    expected = image_structure._jpeg_parts(content)
    monkeypatch.setattr(image_structure, "SEARCHED_AT_ONCE", window)
    assert image_structure._jpeg_parts(content) == expected


def test_a_compressed_bmp_is_bounded_by_its_size() -> None:
    small = rle_bmp(30, 20, 200)
    check_image(small, PIXELS)
    assert (decode_image(small, PIXELS) == 200).all()
    with pytest.raises(ServiceError, match="save it as a PNG"):
        check_image(small + bytes(MAX_RLE_BMP), PIXELS)
    plain = encoded(np.zeros((1200, 1200, 3), np.uint8), "BMP")
    assert len(plain) > MAX_RLE_BMP
    check_image(plain, PIXELS)
