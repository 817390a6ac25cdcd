"""Text report of a classifier's evaluation."""

import numpy as np

from pelee.classification.evaluation.report import report
from tests.support.toy_evaluation import LABELS, NAMES, ROWS, evaluation_by_hand, measured


def test_report_shows_the_worst_classes_first() -> None:
    text = report(evaluation_by_hand(), worst=2)
    assert "toys val: top-1 42.86, calibration error 28.6" in text
    assert "the worst 2 classes" in text and "top-5" not in text
    rows = [line.split() for line in text.splitlines() if line.strip().startswith(NAMES)]
    assert rows == [["cat", "3", "33.3", "bee", "2"], ["ant", "2", "50.0", "bee", "1"]]
    assert max(map(len, text.splitlines())) <= 100


def test_report_lists_classes_without_an_image() -> None:
    assert "2 classes without an image: bee, cat" in report(measured(ROWS[:2], LABELS[:2], NAMES))


def test_report_has_top5_of_more_than_five_classes() -> None:
    rows = np.tile([0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02], (4, 1))
    assert "top-1 25.00, top-5 50.00" in report(measured(rows, np.array([0, 4, 5, 6]), tuple("abcdefg")))
