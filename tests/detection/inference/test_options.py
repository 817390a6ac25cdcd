"""Detection options: ranges, class names and ids, post-processing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import SettingsError
from detection.inference.options import DetectionOptions, class_ids, evaluation_options, model_options
from weights.card import Card

NAMES = ("cat", "dog", "traffic light")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"confidence": 1.5}, "confidence is 1.5, expected a number from 0 to 1"),
        ({"confidence": float("nan")}, "confidence is nan"),
        ({"confidence": [0.5, 1.5]}, r"confidence\[1\] is 1.5, expected a number from 0 to 1"),
        ({"confidence": "0.5"}, "confidence is '0.5'"),
        ({"iou": -0.1}, "iou is -0.1"),
        ({"max_detections": 0}, "max_detections is 0, expected an integer of at least 1"),
    ],
)
def test_settings_out_of_range(values: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DetectionOptions(**values)


def test_options_of_a_model_are_those_of_its_card() -> None:
    plain = Card("a", "detection", "pelee", list(NAMES), 304, default_confidence=0.4)
    assert evaluation_options(plain) == DetectionOptions()
    assert model_options(plain) == DetectionOptions(confidence=0.4)
    own = replace(plain, suppression={"score": 0.001, "iou": 0.55, "candidates": 300, "keep": 300})
    assert evaluation_options(own) == DetectionOptions(0.001, 0.55, 300, candidates=300)
    assert model_options(own) == DetectionOptions(0.4, 0.55, candidates=300)
    assert model_options(own, 0.2, 0.3, 500, [1]) == DetectionOptions(0.2, 0.3, 500, [1], 300)
    assert model_options(own, max_detections=500).nms_candidates == 500


def test_class_ids_of_names_and_ids() -> None:
    assert class_ids(None, NAMES) is None
    assert class_ids(["dog", "cat", "dog"], NAMES) == [0, 1]
    assert class_ids([2, "0"], NAMES) == [0, 2]
    assert class_ids("traffic light", NAMES) == [2]
    assert class_ids(["1"], ("a", "b", "1")) == [2]  # a name precedes an id


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "classes is empty"),
        (["dgo"], "unknown class 'dgo': did you mean 'dog'"),
        (["zebra"], "the model knows cat, dog, traffic light"),
        ([3], "class id 3 is unknown, expected 0 to 2"),
        ([-1], "class id -1 is unknown"),
    ],
)
def test_unknown_classes(classes: list[str | int], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        class_ids(classes, NAMES)


def test_options_reach_post_processing() -> None:
    scores = np.array([[0.9, 0.1, 0], [0.8, 0, 0], [0, 0, 0.7]], np.float32)
    boxes = np.array([[0, 0, 0.5, 1], [0, 0, 0.4, 1], [0.5, 0, 1, 1]], np.float32)

    def labels(**options: object) -> list[int]:
        found = DetectionOptions(**options).postprocess(scores, boxes, width=10, height=10)  # type: ignore[arg-type]
        return found.labels.tolist()

    assert labels(confidence=0.05) == [0, 2, 1]
    assert labels(confidence=0.05, iou=0.9) == [0, 0, 2, 1]
    assert labels(confidence=0.5) == [0, 2]
    assert labels(max_detections=1) == [0]
    assert labels(classes=[1, 2], confidence=0.05) == [2, 1]


RAW = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        (generator := np.random.default_rng(seed)).random((40, 4), np.float32).round(2),
        np.sort(generator.random((40, 2, 2), np.float32), axis=1).reshape(40, 4),
    )
)
THRESHOLD = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
CLASSES = st.none() | st.sets(st.integers(0, 3), min_size=1).map(sorted)


@pytest.mark.slow
@given(RAW, THRESHOLD, CLASSES, st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_equal_thresholds_of_the_classes_give_the_result_of_one_number(
    outputs: tuple[np.ndarray, np.ndarray], confidence: float, classes: list[int] | None, keep: int
) -> None:
    one, each = (
        DetectionOptions(value, 0.45, keep, classes).postprocess(*outputs, width=640, height=480)
        for value in (confidence, [confidence] * 4)
    )
    for wanted, found in zip(one, each, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@given(RAW, st.lists(THRESHOLD, min_size=4, max_size=4), CLASSES)
@settings(max_examples=60, deadline=None)
def test_each_class_has_the_result_of_its_own_threshold(
    outputs: tuple[np.ndarray, np.ndarray], confidence: list[float], classes: list[int] | None
) -> None:
    found = DetectionOptions(np.array(confidence), classes=classes).postprocess(*outputs, width=64, height=48)
    for label in range(4) if classes is None else classes:
        alone = DetectionOptions(confidence[label], classes=[label]).postprocess(*outputs, width=64, height=48)
        np.testing.assert_array_equal(found.boxes[found.labels == label], alone.boxes)
        np.testing.assert_array_equal(found.scores[found.labels == label], alone.scores)
    assert set(found.labels.tolist()) <= set(range(4) if classes is None else classes)


def test_as_many_thresholds_as_classes() -> None:
    options = DetectionOptions((0.5, 0.5))
    with pytest.raises(SettingsError, match="confidence has 2 numbers, expected one, or one for each of 3 classes"):
        options.postprocess(np.zeros((1, 3), np.float32), np.zeros((1, 4), np.float32), width=8, height=8)


def test_a_change_of_the_confidence_is_one_of_each_class() -> None:
    assert DetectionOptions(0.5).change_confidence(lambda value: value / 2).confidence == 0.25
    assert DetectionOptions((0.5, 0.25)).change_confidence(lambda value: value / 2).confidence == (0.25, 0.125)
