"""Confusion matrix of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from data.boxes import box_iou
from data.datasets.records import Record
from detection.evaluation.matching import check_fit

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


def confusion_matrix(
    predictions: Sequence[Prediction],
    records: Sequence[Record],
    class_names: Sequence[str],
    confidence: float,
    iou: float = 0.5,
) -> np.ndarray:
    """Confusion matrix (C + 1, C + 1) int64: rows are ground truths, columns predictions, the last is the background.

    Predictions of at least `confidence` and ground truths are matched one to one at an IoU of at least `iou`: pairs of
    the same class first, then the others, each by descending IoU. An unmatched ground truth is a miss (last column), an
    unmatched prediction a false positive (last row) unless it overlaps an ignored ground truth. The overlap with a
    crowd is the fraction of the prediction that it covers, as in COCO.

    `supervision.ConfusionMatrix` (0.31) does not support ignored ground truths: it counts a difficult one as missed if
    it is not detected, and a prediction of it as a false positive if it is left out.

    Raises:
        ValueError: as `evaluate_voc`.
    """
    background = len(class_names)
    check_fit(predictions, records, background)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    for prediction, record in zip(predictions, records, strict=True):
        kept = prediction.scores >= confidence
        boxes, predicted = prediction.boxes[kept].astype(np.float64), prediction.labels[kept]
        ignored = record.difficult | record.crowd
        overlaps = box_iou(boxes[:, None], record.boxes[None].astype(np.float64), record.crowd[None])  # (k, n)
        actual, pairs = record.labels[~ignored], overlaps[:, ~ignored]

        rows, columns = np.nonzero(pairs >= iou)
        differs = predicted[rows] != actual[columns]
        free_prediction, free_truth = np.ones(len(predicted), dtype=bool), np.ones(len(actual), dtype=bool)
        for pair in np.lexsort((-pairs[rows, columns], differs)):
            row, column = rows[pair], columns[pair]
            if free_prediction[row] and free_truth[column]:
                free_prediction[row] = free_truth[column] = False
                matrix[actual[column], predicted[row]] += 1
        free_prediction &= ~(overlaps[:, ignored] >= iou).any(axis=1)
        matrix[:background, background] += np.bincount(actual[free_truth], minlength=background)
        matrix[background, :background] += np.bincount(predicted[free_prediction], minlength=background)
    return matrix
