"""Augmentation as properties: a marked object is under its box, whatever happened to the image."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.augmentation.ssd as augment
from data.augmentation.color import ColorDistortion
from data.augmentation.geometry import MEAN_COLOR, CropWindow, boxes_in_window, flip, render
from data.augmentation.mosaic import Mosaic
from data.augmentation.ssd import CROP_IOUS, SSDAugmentation, crop, expansion

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
SEEDS = st.integers(0, 2**32 - 1)


def marked(rng: np.random.Generator, objects: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A black image with up to three solid objects that do not touch; an object's label is its colour."""
    height, width = (int(value) for value in rng.integers(60, 200, 2))
    image = np.zeros((height, width, 3), dtype=np.uint8)
    boxes = []
    for i in range(objects):  # one in each third of the width
        low, high = width * i // objects, width * (i + 1) // objects
        x0, x1 = np.sort(rng.choice(np.arange(low, high), 2, replace=False))
        y0, y1 = np.sort(rng.choice(height, 2, replace=False))
        image[y0:y1, x0:x1] = COLOURS[i]
        boxes.append([x0, y0, x1, y1])
    return image, np.array(boxes, dtype=np.float32).reshape(-1, 4), np.arange(objects)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def check_marked(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> int:
    """Inside each box, but for a pixel at its edges, is nothing but its own colour. -> how many were large enough."""
    looked = 0
    size = image.shape[0]
    for box, label in zip(boxes * size, labels, strict=True):
        x0, y0 = np.ceil(box[:2]).astype(int) + 1
        x1, y1 = np.floor(box[2:]).astype(int) - 1
        if x1 > x0 and y1 > y0:
            inside = image[y0:y1, x0:x1].reshape(-1, 3).astype(int)
            # Turned by 18 degrees and half grey, a pure colour still stands out by more than this; black never does.
            assert (inside.argmax(axis=1) == label).all(), box
            assert (inside[:, label] - np.delete(inside, label, axis=1).max(axis=1)).mean() > 25, box
            looked += 1
    return looked


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([64, 128, 304]), objects=st.integers(0, 3))
def test_boxes_stay_in_the_image_on_their_objects_with_their_labels(seed: int, size: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    image, boxes, labels = marked(rng, objects)
    before = image.copy(), boxes.copy(), labels.copy()
    result, relative, kept = SSDAugmentation(size)(image, boxes, labels, rng)
    for old, now in zip(before, (image, boxes, labels), strict=True):
        np.testing.assert_array_equal(old, now)
    assert result.shape == (size, size, 3) and result.dtype == np.uint8 and result.flags.c_contiguous
    assert relative.shape == (len(kept), 4) and relative.dtype == np.float32 and len(kept) <= objects
    assert ((relative >= 0) & (relative <= 1)).all()
    assert ((relative[:, 2:] - relative[:, :2]) * size > 0.99).all()
    assert len(set(kept.tolist())) == len(kept)
    check_marked(result, relative, kept)


def test_the_marked_objects_are_large_enough_to_be_looked_at() -> None:
    rng = np.random.default_rng(1)
    distort = SSDAugmentation(304)
    assert sum(check_marked(*distort(*marked(rng), rng)) for _ in range(100)) > 80


def extent(image: np.ndarray, colour: int) -> np.ndarray:
    """xyxy of where a channel stands out."""
    others = np.delete(image.astype(int), colour, axis=2).max(axis=2)
    rows, columns = np.nonzero(image[..., colour].astype(int) - others > 64)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


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


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_the_same_generator_gives_the_same_sample_whatever_came_before(seed: int) -> None:
    image, boxes, labels = marked(np.random.default_rng(seed))
    first, second = SSDAugmentation(96), SSDAugmentation(96)
    second(image, boxes, labels, np.random.default_rng(99))
    a = first(image, boxes, labels, np.random.default_rng(seed))
    b = second(image, boxes, labels, np.random.default_rng(seed))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def test_global_seeds_are_neither_read_nor_written() -> None:
    import random

    image, boxes, labels = marked(np.random.default_rng(0))
    distort = SSDAugmentation(96)
    results = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        before = random.getstate(), np.random.get_state()[1].tolist()
        results.append(distort(image, boxes, labels, np.random.default_rng(5))[0])
        assert before == (random.getstate(), np.random.get_state()[1].tolist())
    np.testing.assert_array_equal(*results)


def test_a_new_size_takes_effect() -> None:
    distort = SSDAugmentation(96)
    distort.size = 64
    assert distort(*marked(np.random.default_rng(0)), np.random.default_rng(0))[0].shape == (64, 64, 3)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, choice=st.integers(0, len(CROP_IOUS) - 1))
def test_a_crop_holds_its_constraints(seed: int, choice: int) -> None:
    rng = np.random.default_rng(seed)
    image, boxes, _ = marked(rng)
    canvas = expansion(image.shape[1], image.shape[0], rng)
    least = CROP_IOUS[choice]

    class Order:
        """A generator whose permutation tries one choice first."""

        def __getattr__(self, name: str) -> object:
            return getattr(rng, name)

        def permutation(self, n: int) -> list[int]:
            return [choice, *(i for i in range(n) if CROP_IOUS[i] is None)]

    window = crop(canvas, boxes, Order())  # type: ignore[arg-type]
    if window == canvas:  # the choice itself, or none of its trials succeeded
        return
    assert least is not None
    assert canvas.x0 <= window.x0 < window.x1 <= canvas.x1 and canvas.y0 <= window.y0 < window.y1 <= canvas.y1
    wide, high = window.width / canvas.width, window.height / canvas.height
    slack = 1 / min(canvas.width, canvas.height)
    assert 0.3 - slack <= np.sqrt(wide * high) <= 1
    assert 0.5 * (1 - 4 * slack) <= wide / high <= 2 * (1 + 4 * slack)
    inside = [
        iou(np.array([window.x0, window.y0, window.x1, window.y1]), box)
        for box in boxes
        if window.x0 < (box[0] + box[2]) / 2 < window.x1 and window.y0 < (box[1] + box[3]) / 2 < window.y1
    ]
    assert inside and max(inside) >= least - 1e-6


def test_the_whole_image_and_each_side_of_the_coins_come_up_as_often_as_they_should(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An object over the whole image satisfies every constraint often, so the choice is near even: 1/7 are whole."""
    rng = np.random.default_rng(0)
    canvas = CropWindow(0, 0, 100, 100)
    box = np.array([[0, 0, 100, 100]], dtype=np.float32)
    whole = np.mean([crop(canvas, box, rng) == canvas for _ in range(3000)])
    assert 0.12 < whole < 0.19
    counts = {"expansion": 0, "flip": 0}
    for name in counts:
        real = getattr(augment, name)

        def counted(*args: object, name: str = name, real=real) -> object:  # type: ignore[no-untyped-def]
            counts[name] += 1
            return real(*args)

        monkeypatch.setattr(augment, name, counted)
    image, boxes, labels = marked(rng)
    distort = SSDAugmentation(32)
    for _ in range(600):
        distort(image, boxes, labels, rng)
    assert all(240 < count < 360 for count in counts.values()), counts


@given(seed=SEEDS, width=st.integers(1, 300), height=st.integers(1, 300))
def test_an_expansion_holds_the_image_and_is_at_most_four_times_it(seed: int, width: int, height: int) -> None:
    canvas = expansion(width, height, np.random.default_rng(seed))
    assert canvas.x0 <= 0 and canvas.y0 <= 0 and canvas.x1 >= width and canvas.y1 >= height
    assert canvas.width <= 4 * width and canvas.height <= 4 * height


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


def test_objects_stay_by_their_centre_and_are_clipped_by_hand() -> None:
    boxes = np.array([[0, 0, 30, 20], [0, 0, 18, 20], [40, 10, 60, 30], [20, 10, 20.4, 30]], dtype=np.float32)
    window = CropWindow(10, 0, 60, 50)
    result = np.empty((100, 100, 3), dtype=np.uint8)
    image = np.zeros((50, 100, 3), dtype=np.uint8)
    placement = render(image, window, result, cv2.INTER_LINEAR, ColorDistortion(), np.random.default_rng(0))
    kept, labels = boxes_in_window(boxes, np.array([5, 6, 7, 8]), window, placement, 100, 100)
    # Twice as large, 10 pixels to the left; the second's centre is at 9, the fourth is 0.8 pixels wide.
    np.testing.assert_allclose(kept, [[0, 0, 40, 40], [60, 20, 100, 60]])
    assert labels.tolist() == [5, 7]


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


def test_colours_stay_within_what_ssd_allows_and_grey_stays_grey() -> None:
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


def test_hue_turns_by_at_most_18_degrees_and_saturation_changes() -> None:
    rng = np.random.default_rng(0)
    distort = ColorDistortion()
    image = np.full((8, 8, 3), (160, 110, 60), dtype=np.uint8)  # hue 30 degrees
    out = np.stack([distort(image, rng)[0, 0] for _ in range(500)])[None]
    unclipped = out[:, (out.max(axis=2) < 255)[0] & (out.min(axis=2) > 0)[0]]
    hue, saturation, _ = np.moveaxis(cv2.cvtColor(unclipped.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), 2, 0)
    assert 30 - 18 - 4 < hue.min() < 20 and 40 < hue.max() < 30 + 18 + 4
    assert saturation.min() < 0.45 and saturation.max() > 0.75


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
        # A window whose place leaves the one object's centre out loses it, so not always all four.
        assert len(set(labels.tolist())) == len(labels) and areas.sum() <= 1 + 1e-5
    with pytest.raises(ValueError, match="4 images"):
        Mosaic(100)(samples[:3], rng)


def test_an_image_of_one_pixel_passes() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((1, 1, 3), dtype=np.uint8)
    for _ in range(50):
        result, boxes, labels = SSDAugmentation(32)(image, np.array([[0, 0, 1, 1]], np.float32), np.array([0]), rng)
        assert result.shape == (32, 32, 3) and len(boxes) == len(labels)
