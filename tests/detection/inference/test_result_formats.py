import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.inference.prediction import Prediction
from detection.inference.result_formats import to_detections, to_json_line

NAMES = ["cat", "dog"]


def prediction(boxes: list, scores: list, labels: list) -> Prediction:
    return Prediction(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
    )


def test_the_line_of_the_design() -> None:
    found = prediction([[1.04, 2.06, 300.26, 399.94]], [0.93214], [1])
    assert json.loads(to_json_line("street.jpg", 0, 640, 480, found, NAMES)) == {
        "source": "street.jpg",
        "frame": 0,
        "width": 640,
        "height": 480,
        "detections": [{"label": "dog", "class_id": 1, "score": 0.9321, "box": [1.0, 2.1, 300.3, 399.9]}],
    }


def test_a_line_without_detections() -> None:
    line = to_json_line("clip.mp4", 7, 64, 48, prediction([], [], []), NAMES)
    assert line == '{"source": "clip.mp4", "frame": 7, "width": 64, "height": 48, "detections": []}'


def test_a_negative_zero_is_a_zero() -> None:
    assert '"box": [0.0, ' in to_json_line("a", 0, 9, 9, prediction([[-0.01, 0, 5, 5]], [0.5], [0]), NAMES)


@pytest.mark.slow
@given(st.text())
def test_any_file_name_is_one_line_of_ascii(name: str) -> None:
    name = name.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")  # as the system gives names
    line = to_json_line(name, 0, 1, 1, prediction([], [], []), NAMES)
    assert line.isascii() and "\n" not in line
    assert json.loads(line)["source"] == name


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 5000, width=32), st.floats(0, 1, width=32), st.integers(0, 1)), max_size=5))
def test_numbers_survive_to_their_last_digit(rows: list[tuple[float, float, int]]) -> None:
    found = prediction([[value] * 4 for value, _, _ in rows], [row[1] for row in rows], [row[2] for row in rows])
    for item, (value, score, label) in zip(
        json.loads(to_json_line("a", 0, 1, 1, found, NAMES))["detections"], rows, strict=True
    ):
        assert abs(item["box"][0] - value) <= 0.0501 and abs(item["score"] - score) <= 0.0000501
        assert (item["label"], item["class_id"]) == (NAMES[label], label)


def test_detections_are_what_supervision_expects() -> None:
    found: Any = to_detections(prediction([[0, 0, 10, 10], [5, 5, 8, 8]], [0.9, 0.4], [1, 0]), NAMES)
    assert found[found.confidence > 0.5].data["class_name"].tolist() == ["dog"]
    assert found.area.tolist() == [100, 9]
