"""COCO metrics: by hand, with difficult ground truths, and without predictions."""

import numpy as np
import pytest

from detection.evaluation.coco_ap import COCO_METRICS, evaluate_coco
from tests.support.metric_data import BOX, FAR, found, truth


def test_coco_numbers_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    # One small object (10 x 10) found exactly; one large (100 x 100) found at IoU 0.72: right at the thresholds
    # 0.50 .. 0.70, 5 of 10. The exact one has the higher score, so AP is (1 + 0.5) / 2 over the thresholds, up to the
    # 101 samples: at thresholds above 0.70 the recall stops at 1/2, which 51 of the 101 recalls reach.
    large = (100.0, 100.0, 200.0, 200.0)
    record = truth((BOX, 0), (large, 0))
    prediction = found((BOX, 0.9, 0), ((100.0, 100.0, 200.0, 172.0), 0.8, 0))
    result = evaluate_coco([prediction], [record], ["dog"])
    assert tuple(result.numbers) == COCO_METRICS
    assert result.numbers["AP"] == pytest.approx((5 + 5 * 51 / 101) / 10)
    assert result.numbers["AP50"] == pytest.approx(1)
    assert result.numbers["AP75"] == pytest.approx(51 / 101)
    assert result.numbers["APs"] == pytest.approx(1)
    assert result.numbers["APl"] == pytest.approx(0.5)
    assert np.isnan(result.numbers["APm"])
    assert result.numbers["AR1"] == pytest.approx(0.5)
    assert result.numbers["AR100"] == pytest.approx(0.75)
    assert capsys.readouterr().out == ""


def test_coco_ignores_a_difficult_object_by_its_iou() -> None:
    large = (0.0, 0.0, 100.0, 100.0)
    record = truth((large, 0), (FAR, 0), difficult=(0,))
    # found exactly: no false positive, not asked for
    assert evaluate_coco([found((large, 0.9, 0), (FAR, 0.8, 0))], [record], ["dog"]).numbers["AP50"] == pytest.approx(1)
    # a small box inside of it is one, as in VOC: precision 1/2 at every recall
    inside = found(((10, 10, 30, 30), 0.9, 0), (FAR, 0.8, 0))
    assert evaluate_coco([inside], [record], ["dog"]).numbers["AP50"] == pytest.approx(0.5)
    # inside of a crowd it is none
    crowd = truth((large, 0), (FAR, 0), crowd=(0,))
    assert evaluate_coco([inside], [crowd], ["dog"]).numbers["AP50"] == pytest.approx(1)


def test_coco_without_detections_and_without_objects() -> None:
    assert evaluate_coco([found()], [truth((BOX, 0))], ["dog"]).numbers["AP"] == 0
    result = evaluate_coco([found((BOX, 0.9, 0))], [truth()], ["dog"])
    assert all(np.isnan(value) for value in result.numbers.values())
    assert np.isnan(result.ap).all()
