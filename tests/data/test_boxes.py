"""Areas, intersections and IoU against values by hand."""

import numpy as np
import pytest

from data.boxes import box_areas, box_intersections, box_iou

A = np.array([[0, 0, 2, 2], [0, 0, 4, 1], [1, 1, 1, 1]], np.float32)
B = np.array([[1, 1, 3, 3], [1, 1, 1, 1]], np.float32)


def test_areas() -> None:
    assert box_areas(A).tolist() == [4, 4, 0]
    assert box_areas(np.array([3, 3, 1, 5])) == 0  # inverted


def test_intersections_broadcast() -> None:
    assert box_intersections(A[:, None], B[None]).tolist() == [[1, 0], [0, 0], [0, 0]]


def test_iou() -> None:
    assert box_iou(A[:, None], B[None]).ravel().tolist() == pytest.approx([1 / 7, 0, 0, 0, 0, 0])


def test_of_a_crowd_the_share_of_the_first_box_counts() -> None:
    assert box_iou(A[0], B[0], np.array(True)) == pytest.approx(1 / 4)
