"""Verification of exports: detections compared, by hand."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import WeightsError
from detection.export.verification import compare
from detection.inference.prediction import Prediction
from tests.support.tiny_detector import save_pictures


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("photos"), 6)


class Fixed:
    """A detector that has one answer."""

    input_size = 100

    def __init__(self, boxes: list, scores: list, labels: list) -> None:
        self.prediction = Prediction(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
        )

    def predict_batch(self, images: list) -> list[Prediction]:
        return [self.prediction for _ in images]


def test_comparison_counts_what_was_computed_by_hand(photos: Path) -> None:
    reference = Fixed([[0, 0, 10, 10], [50, 50, 90, 90], [0, 0, 5, 5]], [0.9, 0.8, 0.7], [0, 1, 2])
    # the first is 1 px wider (IoU 10/11), the second the same with another score, the third of another class
    candidate = Fixed([[0, 0, 11, 10], [50, 50, 90, 90], [0, 0, 5, 5]], [0.9, 0.75, 0.7], [0, 1, 0])
    path = next(iter(sorted(photos.iterdir())))
    report = compare(reference, candidate, [path])  # type: ignore[arg-type]
    # six directed comparisons; the two of the third have no like, or one of IoU 25/100
    assert report["detections"] == 6 and report["pictures"] == 1 and report["confidence"] == 0.3
    assert report["agreement"] == pytest.approx(2 / 6, abs=1e-5)
    assert report["found"] == pytest.approx(4 / 6, abs=1e-5)
    assert report["largest_box_difference"] == 1 and report["mean_box_difference"] == 0.5
    assert report["largest_score_difference"] == pytest.approx(0.05, abs=1e-5)


def test_weak_detections_are_compared_where_there_are_no_strong_ones(photos: Path) -> None:
    boxes = [[number * 5, 0, number * 5 + 4, 10] for number in range(12)]
    weak = Fixed(boxes, [0.2 - number / 100 for number in range(12)], [0] * 12)
    report = compare(weak, weak, sorted(photos.iterdir())[:1])  # type: ignore[arg-type]
    assert report["confidence"] == pytest.approx(0.11) and report["detections"] == 20 and report["agreement"] == 1
    with pytest.raises(WeightsError, match="finds nothing in 1 images to compare"):
        compare(Fixed([], [], []), weak, sorted(photos.iterdir())[:1])  # type: ignore[arg-type]
