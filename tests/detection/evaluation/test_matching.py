"""Matching of predictions and ground truths, by hand and against a loop."""

import numpy as np
import pytest

from data.boxes import box_iou
from detection.evaluation.coco_ap import evaluate_coco
from detection.evaluation.confusion_matrix import confusion_matrix
from detection.evaluation.matching import best_ground_truth, flatten_split, voc_match
from detection.evaluation.voc_ap import evaluate_voc
from tests.support.metric_data import BOX, FAR, found, synthetic, truth


@pytest.mark.parametrize(
    "measure", [evaluate_voc, evaluate_coco, lambda p, r, names: confusion_matrix(p, r, names, 0.5)]
)
def test_what_does_not_fit_together_is_refused(measure) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="1 predictions for 2 records"):
        measure([found()], [truth(), truth()], ["dog"])
    with pytest.raises(ValueError, match=r"prediction 0 has labels 1\.\.1"):
        measure([found((BOX, 0.9, 1))], [truth((BOX, 0))], ["dog"])
    with pytest.raises(ValueError, match=r"record 0 has labels -1\.\.0"):
        measure([found()], [truth((BOX, 0), (BOX, -1))], ["dog"])


def test_best_ground_truth_against_a_loop() -> None:
    predictions, records = synthetic(3)
    boxes, truths = flatten_split(predictions, records, 4)
    best, ious = best_ground_truth(boxes.boxes, boxes.images, truths.boxes, truths.images)
    for box, image, index, iou in zip(boxes.boxes, boxes.images, best, ious, strict=True):
        overlaps = np.where(truths.images == image, box_iou(box, truths.boxes), 0)
        assert iou == overlaps.max(initial=0)
        assert index == (overlaps.argmax() if iou > 0 else -1)


def test_voc_match_by_hand() -> None:
    """The better of two detections is the true positive; a detection of an ignored object is neither."""
    predictions = [found((BOX, 0.8, 0), (BOX, 0.9, 0), (FAR, 0.7, 0), (BOX, 0.6, 1))]
    boxes, truths = flatten_split(predictions, [truth((BOX, 0), (FAR, 0), difficult=(1,))], 2)
    matches = voc_match(boxes, truths, 0.5)
    assert matches.ground_truths.tolist() == [0, 0, 1, -1]
    assert matches.ious.tolist() == [1, 1, 1, 0]
    assert matches.true_positive.tolist() == [False, True, False, False]
    assert matches.ignored.tolist() == [False, False, True, False]
    assert truths.num_gt(2).tolist() == [1, 0]
