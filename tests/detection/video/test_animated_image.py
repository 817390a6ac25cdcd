"""Animated image as a video source."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.errors import ImageError
from detection.video.animated_image import AnimatedImage


def animation(path: Path, count: int = 5) -> Path:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)) for _ in range(count)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=80)
    return path


def test_frames_have_indices_and_times(tmp_path: Path) -> None:
    with AnimatedImage(animation(tmp_path / "a.gif")) as source:
        assert (source.size, source.rate, source.frames) == ((32, 24), Fraction(25, 2), 5)
        frames = list(source)
    assert [(frame.index, frame.time) for frame in frames] == [(i, Fraction(2 * i, 25)) for i in range(5)]
    assert all(frame.image.shape == (24, 32, 3) and frame.image.dtype == np.uint8 for frame in frames)


def test_every_second_frame(tmp_path: Path) -> None:
    with AnimatedImage(animation(tmp_path / "a.webp")) as source:
        source.every = 2
        assert [frame.index for frame in source] == [0, 2, 4]


def test_one_that_is_cut_off_says_how_far_it_came(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.gif")
    path.write_bytes(path.read_bytes()[:-900])
    with AnimatedImage(path) as source, pytest.raises(ImageError, match=r"only \d of \d frames could be read") as error:
        list(source)
    assert "\n" not in str(error.value)


def test_one_without_a_frame_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(ImageError, match=r"only 0 of 1 frames"):
        AnimatedImage(tmp_path / "a.gif")
