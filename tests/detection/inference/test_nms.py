"""Postprocessing: by hand, and against torchvision's batched NMS on random scores and boxes."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms, box_iou

from detection.inference.nms import postprocess
from detection.inference.prediction import Prediction


def run(
    scores: list[list[float]], boxes: list[list[float]], width: int = 100, height: int = 100, **options: Any
) -> Prediction:
    rows = np.array(scores, np.float32), np.array(boxes, np.float32)
    return postprocess(*rows, width=width, height=height, **options)


LEFT, RIGHT = [0.0, 0.0, 0.4, 1.0], [0.6, 0.0, 1.0, 1.0]


def check_types(prediction: Prediction) -> None:
    boxes, scores, labels = prediction
    assert boxes.dtype == np.float32 and scores.dtype == np.float32 and labels.dtype == np.int64
    assert boxes.shape == (len(scores), 4) and labels.shape == (len(scores),)


def test_boxes_in_pixels_best_first() -> None:
    found = run([[0.3, 0.0], [0.0, 0.9]], [LEFT, RIGHT], width=200, height=50)
    check_types(found)
    np.testing.assert_allclose(found.boxes, [[120, 0, 200, 50], [0, 0, 80, 50]], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [0.9, 0.3], rtol=1e-6)
    assert found.labels.tolist() == [1, 0]


def test_nothing_found() -> None:
    for found in (run([[0.0, 0.01]], [LEFT]), run([[0.9]], [LEFT], confidence=0.95)):
        check_types(found)
        assert len(found.scores) == 0


def test_no_priors_at_all() -> None:
    found = postprocess(np.zeros((0, 3), np.float32), np.zeros((0, 4), np.float32), width=10, height=10)
    check_types(found)
    assert len(found.scores) == 0


def test_score_must_be_above_the_threshold() -> None:
    assert run([[0.5], [0.25]], [LEFT, RIGHT], confidence=0.25).scores.tolist() == [0.5]
    assert run([[0.5], [0.26]], [LEFT, RIGHT], confidence=0.25).scores.tolist() == pytest.approx([0.5, 0.26])


def test_overlap_is_suppressed_within_a_class_only() -> None:
    """IoU of 0..0.4 and 0..0.5 is 0.8."""
    boxes = [[0.0, 0.0, 0.5, 1.0], LEFT]
    assert run([[0.6], [0.7]], boxes).scores.tolist() == pytest.approx([0.7])
    assert run([[0.6, 0.0], [0.0, 0.7]], boxes).labels.tolist() == [1, 0]
    assert len(run([[0.6], [0.7]], boxes, iou=0.81).scores) == 2


def test_overlap_at_the_threshold_stays() -> None:
    """IoU of exactly 0.5; only more is suppressed."""
    boxes = [[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.25, 1.0]]
    assert len(run([[0.9], [0.8]], boxes, iou=0.5).scores) == 2
    assert len(run([[0.9], [0.8]], boxes, iou=0.49).scores) == 1


def test_one_prior_may_be_two_things() -> None:
    found = run([[0.9, 0.8]], [LEFT])
    assert found.labels.tolist() == [0, 1]
    assert found.boxes[0].tolist() == found.boxes[1].tolist()


def test_boxes_are_clipped_to_the_picture() -> None:
    found = run([[0.9]], [[-0.5, 0.25, 0.5, 1.75]], width=80, height=40)
    assert found.boxes.tolist() == [[0, 10, 40, 40]]


def test_class_filter() -> None:
    scores, boxes = [[0.9, 0.8, 0.7]], [LEFT]
    assert run(scores, boxes, classes=[2, 0, 2]).labels.tolist() == [0, 2]
    assert run(scores, boxes, classes={1}).labels.tolist() == [1]
    assert len(run(scores, boxes, classes=[]).labels) == 0


def test_keep_is_of_the_picture_and_candidates_of_a_class() -> None:
    rng = np.random.default_rng(0)
    left = np.arange(50) / 50
    boxes = np.stack([left, np.zeros(50), left + 0.02, np.ones(50)], 1)  # side by side: nothing overlaps
    scores = rng.permutation(100).reshape(50, 2) / 100 + 0.02
    best = np.sort(scores.ravel())[::-1]
    found = run(scores.tolist(), boxes.tolist(), keep=7)
    np.testing.assert_allclose(found.scores, best[:7], rtol=1e-6)
    found = run(scores.tolist(), boxes.tolist(), candidates=5)
    assert np.bincount(found.labels).tolist() == [5, 5]
    for label in (0, 1):
        wanted = np.sort(scores[:, label])[::-1][:5]
        np.testing.assert_allclose(found.scores[found.labels == label], wanted, rtol=1e-6)


def test_defaults_are_the_papers() -> None:
    """700 boxes side by side and one class: 400 enter, 200 stay. Of 0.01 and less, none."""
    left = np.arange(700) / 700
    boxes = np.stack([left, np.zeros(700), left + 1 / 700, np.ones(700)], 1)
    scores = np.linspace(0.02, 0.9, 700)[:, None]
    assert len(run(scores.tolist(), boxes.tolist(), width=7000).scores) == 200
    assert len(run(scores.tolist(), boxes.tolist(), width=7000, keep=1000).scores) == 400
    assert len(run([[0.01], [0.0101]], [LEFT, RIGHT]).scores) == 1


def test_inputs_are_left_alone() -> None:
    scores, boxes = np.full((3, 2), 0.5, np.float32), np.array([LEFT, RIGHT, [-1, -1, 2, 2]], np.float32)
    before = scores.copy(), boxes.copy()
    postprocess(scores, boxes, width=9, height=9)
    assert np.array_equal(scores, before[0]) and np.array_equal(boxes, before[1])


def reference(
    scores: np.ndarray, boxes: np.ndarray, width: int, height: int, confidence: float, iou: float, top: int, keep: int
) -> Prediction:
    """The same by torchvision: threshold, best `top` of each class, batched NMS, best `keep`."""
    pixels = torch.from_numpy(boxes).clamp(0, 1) * torch.tensor([width, height, width, height])
    all_boxes, all_scores, all_labels = [], [], []
    for label in range(scores.shape[1]):
        column = torch.from_numpy(scores[:, label])
        index = (column > confidence).nonzero().flatten()
        values, order = column[index].sort(descending=True)
        all_boxes.append(pixels[index[order[:top]]])
        all_scores.append(values[:top])
        all_labels.append(torch.full((len(values[:top]),), label))
    b, s, c = torch.cat(all_boxes), torch.cat(all_scores), torch.cat(all_labels)
    kept = batched_nms(b, s, c, iou)[:keep]
    return Prediction(b[kept].numpy(), s[kept].numpy(), c[kept].numpy())


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.3, 0.7]), st.sampled_from([0.3, 0.45, 0.6]))
def test_against_torchvision(seed: int, confidence: float, iou: float) -> None:
    """Random boxes, some over the border; scores all different, so that there is one right order."""
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(1, 200)), int(rng.integers(1, 5))
    top, keep = int(rng.integers(5, 80)), int(rng.integers(5, 80))
    corner = rng.uniform(-0.1, 0.8, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.15, 0.5, (count, 2))], 1).astype(np.float32)
    scores = (rng.permutation(count * classes).reshape(count, classes) / (count * classes)).astype(np.float32)
    found = postprocess(scores, boxes, width=320, height=240, confidence=confidence, iou=iou, candidates=top, keep=keep)
    expected = reference(scores, boxes, 320, 240, confidence, iou, top, keep)
    check_types(found)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("keep", [3, 200])
def test_a_crowd_against_torchvision(spread: float, keep: int) -> None:
    """Thousands of boxes above 0.01 around a few places: the best ones alone do not make up `keep`."""
    rng = np.random.default_rng(int(100 * spread) + keep)
    place = rng.uniform(0, 0.7, (6, 2))[rng.integers(0, 6, 3000)]
    corner = np.clip(place + rng.uniform(-spread, spread, (3000, 2)), 0, 0.75)
    boxes = np.concatenate([corner, corner + rng.uniform(0.2, 0.25, (3000, 2))], 1).astype(np.float32)
    scores = (rng.permutation(3000 * 12).reshape(3000, 12) / (3000 * 12)).astype(np.float32)
    found = postprocess(scores, boxes, width=500, height=300, keep=keep)
    expected = reference(scores, boxes, 500, 300, 0.01, 0.45, 400, keep)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_what_stays_does_not_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 0.6, (100, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.4, (100, 2))], 1).astype(np.float32)
    found = postprocess(rng.uniform(0, 1, (100, 3)).astype(np.float32), boxes, width=64, height=48)
    assert (np.diff(found.scores) <= 0).all()
    for label in range(3):
        mine = torch.from_numpy(found.boxes[found.labels == label])
        overlap = box_iou(mine, mine).fill_diagonal_(0)
        assert overlap.max() <= 0.45 + 1e-5


def plain_nms(
    scores: np.ndarray, boxes: np.ndarray, width: int, height: int, confidence: float, iou: float, top: int, keep: int
) -> Prediction:
    """All candidates of each class in one call of OpenCV; equal scores in the order of class, then prior."""
    pixels = boxes.clip(0, 1) * np.array([width, height, width, height], np.float32)
    full = (pixels[:, 2:] > pixels[:, :2]).all(axis=1)
    rows = []
    for label in range(scores.shape[1]):
        index = np.flatnonzero(full & (scores[:, label] > confidence))
        index = index[np.argsort(-scores[index, label], kind="stable")][:top]
        x1, y1, x2, y2 = pixels[index].T.astype(np.float64)
        sides = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1).tolist()
        rows += [
            (-scores[i, label], label, i) for i in index[list(cv2.dnn.NMSBoxes(sides, scores[index, label], 0, iou))]
        ]
    best = sorted(rows)[:keep]
    labels, index = (np.array([row[part] for row in best], np.int64) for part in (1, 2))
    return Prediction(pixels[index], scores[index, labels], labels)


@pytest.mark.slow
@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.45, 0.5]), st.sampled_from([2, 7, 20]), st.booleans())
def test_parts_give_what_one_pass_gives(seed: int, iou: float, keep: int, ties: bool) -> None:
    """Bit for bit, with several parts entering one after the other, equal scores and IoUs at the threshold."""
    rng = np.random.default_rng(seed)
    count, classes, top = int(rng.integers(1, 300)), int(rng.integers(1, 30)), int(rng.integers(3, 200))
    corner, side = rng.uniform(-0.1, 0.8, (count, 2)), rng.uniform(0.1, 0.5, (count, 2))
    boxes = np.concatenate([corner, corner + side], 1)
    scores = rng.uniform(0, 1, (count, classes)) ** rng.choice([1, 4])
    if ties:
        boxes, scores = boxes.round(1), scores.round(rng.choice([0, 1, 2]))
    scores, boxes = scores.astype(np.float32), boxes.astype(np.float32)
    found = postprocess(scores, boxes, width=64, height=48, confidence=0.01, iou=iou, candidates=top, keep=keep)
    expected = plain_nms(scores, boxes, 64, 48, 0.01, iou, top, keep)
    check_types(found)
    for part, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(part, wanted)
