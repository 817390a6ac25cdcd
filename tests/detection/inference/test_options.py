"""Detection options: ranges, class names and ids, post-processing."""

import numpy as np
import pytest

from data.errors import SettingsError
from detection.inference.options import DetectionOptions, class_ids

NAMES = ("cat", "dog", "traffic light")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confidence": 1.5}, "confidence is 1.5, expected a number from 0 to 1"),
        ({"confidence": float("nan")}, "confidence is nan"),
        ({"iou": -0.1}, "iou is -0.1"),
        ({"max_detections": 0}, "max_detections is 0, expected an integer of at least 1"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DetectionOptions(**settings)


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
