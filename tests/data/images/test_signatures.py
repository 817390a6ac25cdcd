"""Signatures: images of each format are recognized, other files are not."""

import io

import numpy as np
import pytest
from PIL import Image

from data.images.image_io import FORMATS
from data.images.signatures import HEAD, is_heic, is_image, may_be_animated, may_be_cut_off


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_that_is_read_is_recognized(form: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(file, form)
    head = file.getvalue()[:HEAD]
    assert is_image(head) and not is_heic(head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"P",
        b"P6",
        b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"Private",
        b"\x1aE\xdf\xa3",
        b"G@\x11\x10",
    ],
)
def test_other_files_are_no_images(head: bytes) -> None:
    assert not is_image(head)


def test_heic_is_an_image() -> None:
    head = b"\x00\x00\x00\x24ftypheic\x00\x00\x00\x00"
    assert is_image(head) and is_heic(head)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF", "GIF"])
def test_an_animation_is_told_from_a_still_image(form: str) -> None:
    images = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    still, moving = io.BytesIO(), io.BytesIO()
    images[0].save(still, form)
    images[0].save(moving, form, save_all=True, append_images=images[1:])
    assert may_be_animated(moving.getvalue()[:HEAD])
    assert not may_be_animated(still.getvalue()[:HEAD]) or form == "GIF"  # whose frames must be counted


def test_a_jpeg_is_not_animated() -> None:
    assert not may_be_animated(b"\xff\xd8\xff\xe0") and not may_be_animated(b"RIFF")


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_without_its_end_may_be_cut_off(form: str) -> None:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, form)
    undecided = form in ("TIFF", "PPM", "AVIF")  # decoding tells
    assert may_be_cut_off(file) is undecided
    for length in (file.tell() - 1, file.getbuffer().nbytes // 2, 20):
        assert may_be_cut_off(io.BytesIO(file.getvalue()[:length])), length
    assert may_be_cut_off(io.BytesIO(b""))
