"""Matching of the predictions and ground truths of a whole split, in flat arrays; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.boxes import box_iou
from data.datasets.records import Record

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


class SplitBoxes(NamedTuple):
    """Predictions or ground truths of all images in one set of arrays.

    Attributes:
        images: (m,) image index, ascending.
        boxes: (m, 4) float64 xyxy in pixels.
        labels: (m,) int64.
        scores: (m,) float64; ones for ground truths.
        ignored: (m,) bool, difficult or crowd; false for predictions.
    """

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray

    def num_gt(self, classes: int) -> np.ndarray:
        """(C,) number of ground truths per class that are not ignored."""
        return np.bincount(self.labels[~self.ignored], minlength=classes)


def flatten_split(
    predictions: Sequence[Prediction], records: Sequence[Record], classes: int
) -> tuple[SplitBoxes, SplitBoxes]:
    """Predictions and ground truths of all images, each in one set of arrays."""
    check_fit(predictions, records, classes)

    def join(parts: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
        return np.concatenate([empty, *parts]).astype(empty.dtype, copy=False)

    no_boxes, no_numbers, no_labels, no_flags = np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool)
    index = np.arange(len(records))
    labels = join([prediction.labels for prediction in predictions], no_labels)
    flat_predictions = SplitBoxes(
        np.repeat(index, [len(prediction.labels) for prediction in predictions]),
        join([prediction.boxes for prediction in predictions], no_boxes),
        labels,
        join([prediction.scores for prediction in predictions], no_numbers),
        np.zeros(len(labels), dtype=bool),
    )
    labels = join([record.labels for record in records], no_labels)
    ground_truths = SplitBoxes(
        np.repeat(index, [len(record.labels) for record in records]),
        join([record.boxes for record in records], no_boxes),
        labels,
        np.ones(len(labels)),
        join([record.difficult | record.crowd for record in records], no_flags),
    )
    return flat_predictions, ground_truths


def check_fit(predictions: Sequence[Prediction], records: Sequence[Record], classes: int) -> None:
    """Raise ValueError if predictions and records differ in number, or a label is out of range."""
    if len(predictions) != len(records):
        raise ValueError(f"{len(predictions)} predictions for {len(records)} records; there must be one for each")
    for name, labels in (("prediction", [p.labels for p in predictions]), ("record", [r.labels for r in records])):
        for number, values in enumerate(labels):
            if len(values) and not 0 <= values.min() <= values.max() < classes:
                raise ValueError(f"{name} {number} has labels {values.min()}..{values.max()}, but there are {classes}")


class VocMatches(NamedTuple):
    """Result of matching m predictions by the rules of the Pascal VOC devkit; the rest are false positives.

    Attributes:
        ground_truths: (m,) index of the ground truth of the same class and image with the largest IoU, -1 for none.
        ious: (m,) that IoU.
        true_positive: (m,) bool, the first prediction of a ground truth.
        ignored: (m,) bool, matched to an ignored ground truth.
    """

    ground_truths: np.ndarray
    ious: np.ndarray
    true_positive: np.ndarray
    ignored: np.ndarray


def voc_match(predictions: SplitBoxes, ground_truths: SplitBoxes, iou: float) -> VocMatches:
    """Match predictions to ground truths by the rules of the VOC devkit (VOCevaldet.m); see `voc_ap.evaluate_voc`."""
    count = len(predictions.labels)
    best, best_iou = np.full(count, -1), np.zeros(count)
    for label in np.unique(predictions.labels):
        rows = np.flatnonzero(predictions.labels == label)
        columns = np.flatnonzero(ground_truths.labels == label)
        nearest, best_iou[rows] = best_ground_truth(
            predictions.boxes[rows],
            predictions.images[rows],
            ground_truths.boxes[columns],
            ground_truths.images[columns],
        )
        best[rows] = np.append(columns, -1)[nearest]
    hits = np.flatnonzero(best_iou >= iou)
    hits = hits[np.argsort(-predictions.scores[hits], kind="stable")]
    ignored = np.zeros(count, dtype=bool)
    ignored[hits] = ground_truths.ignored[best[hits]]
    hits = hits[~ignored[hits]]
    true_positive = np.zeros(count, dtype=bool)
    true_positive[hits[np.unique(best[hits], return_index=True)[1]]] = True  # the highest score of each ground truth
    return VocMatches(best, best_iou, true_positive, ignored)


def best_ground_truth(
    boxes: np.ndarray,
    images: np.ndarray,
    gt_boxes: np.ndarray,
    gt_images: np.ndarray,
    other_labels: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth of the same image with the largest IoU for each of m boxes, the first of equals.

    Args:
        boxes, images: (m, 4) and (m,).
        gt_boxes, gt_images: (n, 4) and (n,); `gt_images` ascending.
        other_labels: labels of the boxes and of the ground truths; only ground truths of other labels count.

    Returns:
        (m,) indices of ground truths, -1 for none, and (m,) their IoUs.
    """
    start = np.searchsorted(gt_images, images, side="left")
    count = np.searchsorted(gt_images, images, side="right") - start
    best, best_iou = np.full(len(boxes), -1), np.zeros(len(boxes))
    # one pass for the first ground truth of every image, one for the second...: as many as the maximum per image
    for nth in range(int(count.max(initial=0))):
        rows = np.flatnonzero(count > nth)
        candidate = start[rows] + nth
        ious = box_iou(boxes[rows], gt_boxes[candidate])
        if other_labels is not None:
            ious[other_labels[0][rows] == other_labels[1][candidate]] = 0.0
        better = ious > best_iou[rows]
        best[rows[better]], best_iou[rows[better]] = candidate[better], ious[better]
    return best, best_iou
