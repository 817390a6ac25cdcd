"""Crop windows: rendering, boxes and flips."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings

from data.augmentation.color import ColorDistortion
from data.augmentation.geometry import MEAN_COLOR, CropWindow, boxes_in_window, flip, render
from data.augmentation.ssd import crop, expansion
from tests.support.marked_images import SEEDS, marked


def extent(image: np.ndarray, color: int) -> np.ndarray:
    """xyxy of where a channel stands out."""
    others = np.delete(image.astype(int), color, axis=2).max(axis=2)
    rows, columns = np.nonzero(image[..., color].astype(int) - others > 64)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_boxes_end_where_their_objects_end(seed: int) -> None:
    """To 1.5 source pixels, or 1.5 of the result where it is the coarser one."""
    rng = np.random.default_rng(seed)
    image, boxes, labels = marked(rng)
    canvas = expansion(image.shape[1], image.shape[0], rng)
    window = crop(canvas, boxes, rng)
    result = np.empty((200, 200, 3), dtype=np.uint8)
    placement = render(image, window, result, cv2.INTER_LINEAR, lambda part, _: part, rng)  # type: ignore[arg-type]
    moved, kept = boxes_in_window(boxes, labels, window, placement, 200, 200)
    for box, label in zip(moved, kept, strict=True):
        if (box[2:] - box[:2] >= 4).all():
            tolerance = 1.5 * max(1, 200 / window.width, 200 / window.height)
            np.testing.assert_allclose(extent(result, int(label)), box, atol=tolerance)


@pytest.mark.slow
def test_an_expanded_image_is_surrounded_by_the_undistorted_mean() -> None:
    image = np.zeros((50, 100, 3), dtype=np.uint8)
    result = np.empty((80, 80, 3), dtype=np.uint8)
    window = CropWindow(-100, -50, 300, 150)  # four times the image, one of it to the left and above
    placement = render(image, window, result, cv2.INTER_AREA, ColorDistortion(), np.random.default_rng(0))
    assert placement is not None and placement.target == CropWindow(20, 20, 40, 40)
    outside = np.ones((80, 80), dtype=bool)
    outside[20:40, 20:40] = False
    assert (result[outside] == MEAN_COLOR).all() and (result[20:40, 20:40] < 40).all()


def test_a_window_beside_the_image_shows_the_mean_and_no_boxes() -> None:
    image = np.zeros((50, 100, 3), dtype=np.uint8)
    result = np.empty((8, 8, 3), dtype=np.uint8)
    window = CropWindow(100, 0, 150, 50)
    placement = render(image, window, result, cv2.INTER_LINEAR, ColorDistortion(), np.random.default_rng(0))
    assert placement is None and (result == MEAN_COLOR).all()
    boxes, labels = boxes_in_window(np.array([[0, 0, 9, 9]], np.float32), np.array([3]), window, placement, 8, 8)
    assert boxes.shape == (0, 4) and labels.shape == (0,)


def test_objects_stay_by_their_center_and_are_clipped_by_hand() -> None:
    boxes = np.array([[0, 0, 30, 20], [0, 0, 18, 20], [40, 10, 60, 30], [20, 10, 20.4, 30]], dtype=np.float32)
    window = CropWindow(10, 0, 60, 50)
    result = np.empty((100, 100, 3), dtype=np.uint8)
    image = np.zeros((50, 100, 3), dtype=np.uint8)
    placement = render(image, window, result, cv2.INTER_LINEAR, ColorDistortion(), np.random.default_rng(0))
    kept, labels = boxes_in_window(boxes, np.array([5, 6, 7, 8]), window, placement, 100, 100)
    # Twice as large, 10 pixels to the left; the second's center is at 9, the fourth is 0.8 pixels wide.
    np.testing.assert_allclose(kept, [[0, 0, 40, 40], [60, 20, 100, 60]])
    assert labels.tolist() == [5, 7]


@pytest.mark.slow
@given(seed=SEEDS)
def test_flipping_twice_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, boxes, _ = marked(rng)
    relative = boxes / np.array([image.shape[1], image.shape[0]] * 2, dtype=np.float32)
    once_image, once = flip(image, relative)
    np.testing.assert_array_equal(once_image, image[:, ::-1])
    assert (once[:, 2:] >= once[:, :2]).all()
    twice_image, twice = flip(once_image, once)
    np.testing.assert_array_equal(twice_image, image)
    np.testing.assert_allclose(twice, relative, atol=1e-6)
