"""Two images in one: what is blended, what is pasted, and what is left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.augmentation.geometry import Sample
from data.augmentation.mixup_copy_paste import MAX_COVERED, MAX_PASTED, _covered, mix, paste

SIDE = 64


def sample(color: int, *boxes: tuple[float, ...]) -> Sample:
    """A plain image whose objects, of labels 0, 1, ..., are brighter by 10, 20, ..."""
    image = np.full((SIDE, SIDE, 3), color, np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        image[int(y0 * SIDE) : int(y1 * SIDE), int(x0 * SIDE) : int(x1 * SIDE)] = color + 10 * (number + 1)
    return image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes), dtype=np.int64)


def test_a_mix_has_the_objects_of_both_and_colors_between() -> None:
    first, second = sample(100, (0.0, 0.0, 0.5, 0.5)), sample(200, (0.25, 0.25, 1.0, 1.0), (0, 0, 0.125, 0.125))
    shares = []
    for seed in range(50):
        image, boxes, labels = mix(first, second, np.random.default_rng(seed))
        assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
        assert labels.tolist() == [0, 0, 1]
        np.testing.assert_array_equal(boxes, np.concatenate([first[1], second[1]]))
        shares.append((210 - int(image[40, 40, 0])) / 110)  # 100 of the first, 210 of the second
    assert 0 <= min(shares) < 0.3 and 0.7 < max(shares) <= 1
    assert np.mean(shares) == pytest.approx(0.5, abs=0.12)


def test_a_mix_with_an_image_without_objects() -> None:
    _, boxes, labels = mix(sample(10), sample(20, (0.0, 0.0, 0.5, 0.5)), np.random.default_rng(0))
    assert boxes.shape == (1, 4) and labels.tolist() == [0]


def test_a_pasted_object_is_where_its_box_says() -> None:
    onto, source = sample(0), sample(100, (0.25, 0.125, 0.5, 0.25))
    pasted = 0
    for seed in range(40):
        image, boxes, labels = paste(onto, source, np.random.default_rng(seed))
        assert len(boxes) == len(labels) <= 1
        for x0, y0, x1, y1 in (boxes * SIDE).astype(int).tolist():
            assert (x1 - x0, y1 - y0) == (16, 8)
            assert (image[y0:y1, x0:x1] == 110).all()
            assert (image == 110).all(axis=2).sum() == 16 * 8
            pasted += 1
    assert 8 < pasted < 32  # a half chance each
    assert not onto[0].any() and len(onto[1]) == 0


def test_what_is_large_or_overlaps_in_its_own_image_is_not_pasted() -> None:
    large = sample(100, (0.0, 0.0, 0.6, 0.6))
    together = sample(100, (0.0, 0.0, 0.3, 0.3), (0.2, 0.2, 0.5, 0.5))
    for source in (large, together, sample(100)):
        for seed in range(10):
            image, boxes, _ = paste(sample(0), source, np.random.default_rng(seed))
            assert not image.any() and len(boxes) == 0


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), count=st.integers(0, 5))
def test_pasting_hides_no_more_than_its_share_and_stays_inside(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 0.6, (2, count, 2))
    onto, source = (
        sample(color, *np.concatenate([part, part + rng.uniform(0.05, 0.4, (count, 2))], axis=1).tolist())
        for color, part in zip((0, 100), corner, strict=True)
    )
    image, boxes, labels = paste(onto, source, rng)
    assert image.shape == (SIDE, SIDE, 3) and boxes.dtype == np.float32 and labels.dtype == np.int64
    assert len(boxes) == len(labels) >= count
    np.testing.assert_array_equal(boxes[:count], onto[1])
    assert (boxes >= 0).all() and (boxes <= 1).all()
    for index in range(count, len(boxes)):
        assert (boxes[index, 2:] - boxes[index, :2]).prod() <= MAX_PASTED
        assert (_covered(boxes[index], boxes[:index]) <= MAX_COVERED + 1e-5).all()
