"""Synthetic test pattern: its number can be read back, its pace is kept."""

import time

import numpy as np
import pytest

from data.errors import SettingsError
from detection.video.capture.synthetic_pattern import Pattern, draw_number, read_number
from detection.video.source_names import is_pattern


def test_the_pattern_says_its_number_in_every_size() -> None:
    for text in ("test", "test:64x48", "test:333x77@25"):
        pattern = Pattern(text)
        for number in (0, 1, 77, 2**31 + 5):
            image = pattern.image(number)
            assert read_number(image) == number and image.dtype == np.uint8
    assert not is_pattern("tests") and not is_pattern("test:10") and not is_pattern("test.mp4")
    with pytest.raises(SettingsError, match="expected 32x32"):
        Pattern("test:10x10")


def test_the_pattern_keeps_its_pace_and_drops_what_was_missed() -> None:
    pattern = Pattern("test:64x48@50")
    begin = time.monotonic()
    first = read_number(pattern.read().to_rgb())
    time.sleep(0.2)
    second = read_number(pattern.read().to_rgb())
    assert second - first >= 9 and (second - 0.5) / 50 <= time.monotonic() - begin + 0.02
    pattern.close()


def test_numbers_survive_a_lossy_way() -> None:
    image = np.full((96, 128, 3), 40, np.uint8)
    draw_number(image, 0b1011_0000_1111)
    noisy = np.clip(image.astype(int) + np.random.default_rng(0).integers(-60, 60, image.shape), 0, 255)
    assert read_number(noisy.astype(np.uint8)) == 0b1011_0000_1111
