"""Color distortion: its ranges and probabilities."""

import cv2
import numpy as np
import pytest

from data.augmentation.color import ColorDistortion


@pytest.mark.slow
def test_colors_stay_within_what_ssd_allows_and_grey_stays_grey() -> None:
    """Of a flat grey, saturation and hue change nothing: what is left is (grey + [-32, 32]) * [0.5, 1.5]."""
    rng = np.random.default_rng(0)
    distort = ColorDistortion()
    grey = np.full((8, 8, 3), 100, dtype=np.uint8)
    seen = np.array([distort(grey, rng)[0, 0].astype(int) for _ in range(800)])
    assert (seen.max(axis=1) - seen.min(axis=1)).max() <= 1
    assert 34 - 1 <= seen.min() < 60 and 160 < seen.max() <= 198 + 1
    # Each of brightness and contrast is left out half of the time.
    assert 0.18 < (seen[:, 0] == 100).mean() < 0.32
    assert (grey == 100).all()


@pytest.mark.slow
def test_hue_turns_by_at_most_18_degrees_and_saturation_changes() -> None:
    rng = np.random.default_rng(0)
    distort = ColorDistortion()
    image = np.full((8, 8, 3), (160, 110, 60), dtype=np.uint8)  # hue 30 degrees
    out = np.stack([distort(image, rng)[0, 0] for _ in range(500)])[None]
    unclipped = out[:, (out.max(axis=2) < 255)[0] & (out.min(axis=2) > 0)[0]]
    hue, saturation, _ = np.moveaxis(cv2.cvtColor(unclipped.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), 2, 0)
    assert 30 - 18 - 4 < hue.min() < 20 and 40 < hue.max() < 30 + 18 + 4
    assert saturation.min() < 0.45 and saturation.max() > 0.75
