"""SSD's augmentation by properties: a marked object is under its box after any transformation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.augmentation.ssd as augment
from data.augmentation.geometry import CropWindow
from data.augmentation.ssd import CROP_IOUS, SSDAugmentation, background_crop, crop, expansion
from tests.support.marked_images import SEEDS, check_marked, marked


def iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_marked_objects_are_large_enough_to_be_looked_at() -> None:
    rng = np.random.default_rng(1)
    distort = SSDAugmentation(304)
    assert sum(check_marked(*distort(*marked(rng), rng)) for _ in range(100)) > 80


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@given(seed=SEEDS, width=st.integers(1, 300), height=st.integers(1, 300))
def test_an_expansion_holds_the_image_and_is_at_most_four_times_it(seed: int, width: int, height: int) -> None:
    canvas = expansion(width, height, np.random.default_rng(seed))
    assert canvas.x0 <= 0 and canvas.y0 <= 0 and canvas.x1 >= width and canvas.y1 >= height
    assert canvas.width <= 4 * width and canvas.height <= 4 * height


@pytest.mark.slow
def test_an_image_of_one_pixel_passes() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((1, 1, 3), dtype=np.uint8)
    for _ in range(50):
        result, boxes, labels = SSDAugmentation(32)(image, np.array([[0, 0, 1, 1]], np.float32), np.array([0]), rng)
        assert result.shape == (32, 32, 3) and len(boxes) == len(labels)


@given(SEEDS, st.integers(0, 4), st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=80)
def test_a_background_crop_has_no_part_of_a_box_inside(seed: int, objects: int, width: int, height: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (objects, 2, 2)), axis=1) * 0.5 + rng.uniform(0, 0.5, (objects, 1, 2))
    boxes = corners.reshape(objects, 4) * (width, height, width, height)
    window = background_crop(width, height, boxes, rng)
    if window is None:
        assert objects
        return
    assert 0 <= window.x0 < window.x1 <= width and 0 <= window.y0 < window.y1 <= height
    for x1, y1, x2, y2 in boxes:
        assert min(x2, window.x1) <= max(x1, window.x0) or min(y2, window.y1) <= max(y1, window.y0)


def test_a_background_has_the_size_of_the_augmentation_and_none_is_in_a_full_image() -> None:
    image = np.full((40, 60, 3), 90, np.uint8)
    found = SSDAugmentation(32).background(image, np.array([[0, 0, 5, 5]]), np.random.default_rng(0))
    assert found is not None and found.shape == (32, 32, 3) and found.dtype == np.uint8
    assert SSDAugmentation(32).background(image, np.array([[0, 0, 60, 40]]), np.random.default_rng(0)) is None
