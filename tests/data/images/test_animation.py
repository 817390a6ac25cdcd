"""Animated images and TIFF pages: number of frames, pixels, durations."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images.animation import count_frames, read_frames

COLORS = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]


def save(path: Path, count: int = 3, **options: object) -> Path:
    images = [Image.new("RGB", (32, 16), color) for color in COLORS[:count]]
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif", ".tif"])
def test_frames_come_in_order_with_their_durations(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    durations = {} if suffix == ".tif" else {"duration": [200, 40, 120]}
    path = save(tmp_path / f"a{suffix}", **options, **durations)
    assert count_frames(path) == 3
    frames = list(read_frames(path))
    assert [image.shape for image, _ in frames] == [(16, 32, 3)] * 3
    for (image, _), color in zip(frames, COLORS, strict=True):
        assert np.abs(image.astype(int) - color).max() < 16
    seconds = [1, 1, 1] if suffix == ".tif" else [Fraction(1, 5), Fraction(1, 25), Fraction(3, 25)]
    assert [duration for _, duration in frames] == seconds


def test_a_duration_of_zero_is_a_tenth_of_a_second(tmp_path: Path) -> None:
    assert [duration for _, duration in read_frames(save(tmp_path / "a.gif", duration=0))] == [Fraction(1, 10)] * 3


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.jpg", "a.tif", "a.bmp"])
def test_a_still_image_has_one_frame(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert count_frames(tmp_path / name) == 1


def test_anything_else_has_one_frame(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    (tmp_path / "b.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    assert [count_frames(tmp_path / name) for name in ("a.gif", "b.tif", "gone.png")] == [1, 1, 1]


def test_pages_of_several_sizes_are_previews(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (32, 16)), Image.new("RGB", (16, 8))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert count_frames(tmp_path / "a.tif") == 1
