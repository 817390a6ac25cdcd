"""Confusion matrix: by hand, and its invariants."""

import numpy as np

from detection.evaluation.confusion_matrix import confusion_matrix
from detection.evaluation.voc_ap import evaluate_voc
from tests.support.metric_data import BOX, FAR, found, synthetic, truth


def test_confusion_matrix_by_hand() -> None:
    dog, cat, background = 0, 1, 2
    other, third = (20.0, 0.0, 30.0, 10.0), (80.0, 0.0, 90.0, 10.0)
    record = truth((BOX, dog), (other, dog), (FAR, cat), (third, cat))
    prediction = found(
        (BOX, 0.9, dog),  # right
        (other, 0.8, cat),  # a dog called cat
        (FAR, 0.7, cat),  # right
        (FAR, 0.6, cat),  # twice: a false alarm
        ((0, 80, 10, 90), 0.5, dog),  # nothing there; the threshold itself counts
        (third, 0.4, cat),  # below the threshold: this cat is missed
    )
    matrix = confusion_matrix([prediction], [record], ["dog", "cat"], confidence=0.5)
    expected = np.zeros((3, 3), dtype=int)
    expected[dog, dog] = expected[dog, cat] = expected[cat, cat] = 1
    expected[cat, background] = expected[background, cat] = expected[background, dog] = 1
    np.testing.assert_array_equal(matrix, expected)
    assert np.issubdtype(matrix.dtype, np.integer)


def test_confusion_matrix_prefers_the_pair_of_one_class() -> None:
    # A rider and a horse in nearly the same place: each detection lies nearer to the other's box.
    rider, horse = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 9.0)
    matrix = confusion_matrix(
        [found((horse, 0.9, 0), (rider, 0.8, 1))], [truth((rider, 0), (horse, 1))], ["person", "horse"], 0.5
    )
    np.testing.assert_array_equal(matrix, np.diag([1, 1, 0]))


def test_confusion_matrix_leaves_ignored_objects_alone() -> None:
    crowd = (0.0, 0.0, 100.0, 100.0)
    record = truth((FAR, 0), (crowd, 0), ((200, 0, 210, 10), 0), difficult=(0,), crowd=(1,))
    inside_of_the_crowd = ((70, 70, 80, 80), 0.9, 0)
    outside = ((300, 0, 310, 10), 0.9, 0)
    matrix = confusion_matrix([found((FAR, 0.9, 0), inside_of_the_crowd, outside)], [record], ["dog"], 0.5)
    # counted: the one object without a flag, missed, and the one detection that lies nowhere
    np.testing.assert_array_equal(matrix, [[0, 1], [1, 0]])


def test_confusion_matrix_rows_sum_to_the_objects() -> None:
    predictions, records = synthetic(3)
    matrix = confusion_matrix(predictions, records, ["a", "b", "c", "d"], confidence=0.3)
    voc = evaluate_voc(predictions, records, ["a", "b", "c", "d"])
    np.testing.assert_array_equal(matrix[:-1].sum(axis=1), voc.num_gt)
    np.testing.assert_array_equal(confusion_matrix([found()], [truth()], ["dog"], 0.5), np.zeros((2, 2)))
