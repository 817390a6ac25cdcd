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
    """(C + 1, C + 1) int64: rows are what was there, columns what was said; the last of each is the background.

    Detections of at least `confidence` and objects are paired one to one at an IoU of at least `iou`: first those of
    one class, then the others, each by falling IoU. An object left over is a miss (last column), a detection left over
    a false alarm (last row) unless it overlaps an ignored object. Of a crowd, what counts as overlap is the share of
    the detection that it covers, as COCO has it.

    Own code, because `supervision.ConfusionMatrix` (0.31) knows no ignored objects: it takes a difficult one for
    missed where it was not found, and a detection of it for a false alarm where it is left out.

    Raises:
        ValueError: as `evaluate_voc`.
    """
    background = len(class_names)
    check_fit(predictions, records, background)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    for prediction, record in zip(predictions, records, strict=True):
        kept = prediction.scores >= confidence
        boxes, said = prediction.boxes[kept].astype(np.float64), prediction.labels[kept]
        ignored = record.difficult | record.crowd
        overlaps = box_iou(boxes[:, None], record.boxes[None].astype(np.float64), record.crowd[None])  # (k, n)
        there, pairs = record.labels[~ignored], overlaps[:, ~ignored]

        rows, columns = np.nonzero(pairs >= iou)
        differs = said[rows] != there[columns]
        free_detection, free_object = np.ones(len(said), dtype=bool), np.ones(len(there), dtype=bool)
        for pair in np.lexsort((-pairs[rows, columns], differs)):
            row, column = rows[pair], columns[pair]
            if free_detection[row] and free_object[column]:
                free_detection[row] = free_object[column] = False
                matrix[there[column], said[row]] += 1
        free_detection &= ~(overlaps[:, ignored] >= iou).any(axis=1)
        matrix[:background, background] += np.bincount(there[free_object], minlength=background)
        matrix[background, :background] += np.bincount(said[free_detection], minlength=background)
    return matrix
