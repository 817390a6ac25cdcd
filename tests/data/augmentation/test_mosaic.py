"""Mosaic: objects stay under their boxes, and the result is filled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.augmentation.geometry import MEAN_COLOR
from data.augmentation.mosaic import Mosaic
from tests.support.marked_images import SEEDS, check_marked, marked


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([64, 304]))
def test_a_mosaic_keeps_each_object_under_its_box(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    samples = [marked(rng, objects) for objects in (3, 2, 0, 3)]
    state = rng.bit_generator.state
    result, relative, labels = Mosaic(size)(samples, rng)
    assert result.shape == (size, size, 3) and relative.shape == (len(labels), 4) and relative.dtype == np.float32
    assert ((relative >= 0) & (relative <= 1)).all()
    check_marked(result, relative, labels)
    rng.bit_generator.state = state
    again = Mosaic(size)(samples, rng)
    np.testing.assert_array_equal(result, again[0])
    np.testing.assert_array_equal(relative, again[1])


def test_a_mosaic_is_filled_to_its_edges_by_all_four() -> None:
    image, box = np.full((40, 60, 3), 200, dtype=np.uint8), np.array([[0, 0, 60, 40]], dtype=np.float32)
    samples = [(image, box, np.array([label])) for label in range(4)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        result, boxes, labels = Mosaic(100)(samples, rng)
        assert not (result == MEAN_COLOR).all(axis=2).any()
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        # A window whose place leaves the one object's center out loses it, so not always all four.
        assert len(set(labels.tolist())) == len(labels) and areas.sum() <= 1 + 1e-5
    with pytest.raises(ValueError, match="4 images"):
        Mosaic(100)(samples[:3], rng)
