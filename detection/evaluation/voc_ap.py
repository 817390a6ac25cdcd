"""Average precision (AP) of Pascal VOC; imports no torch.

All functions of this package take one `Prediction` (xyxy in pixels of the image, scores, 0-based labels) per `Record`,
in the same order. VOC's AP and the confusion matrix ignore ground truths that are `difficult` or `crowd`: they are
neither counted nor false positives when predicted. Box areas are continuous, without the devkit's `+ 1`:
readers convert VOC's inclusive pixels into [xmin - 1, ymin - 1, xmax, ymax], whose continuous width is the number of
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from data.datasets.records import Record
from detection.evaluation.matching import flatten_split, voc_match

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


Method = Literal["11-point", "all-point"]


class PrecisionRecallCurve(NamedTuple):
    """Precision over recall of one class: (k,) float64 arrays by descending score, without ignored predictions."""

    recall: np.ndarray
    precision: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class VocResult:
    """AP of each class by the rules of the Pascal VOC devkit.

    Attributes:
        class_names: names of the C classes.
        iou: minimum IoU of a true positive.
        num_gt: (C,) int64, ground truths that are neither difficult nor crowd.
        ap_11point: (C,) float64 in 0..1, AP of VOC2007; NaN for a class without ground truths.
        ap_allpoint: (C,) float64 in 0..1, the area under the curve (VOC2010 and later); NaN likewise.
        curves: C curves, empty for a class without ground truths.
    """

    class_names: tuple[str, ...]
    iou: float
    num_gt: np.ndarray
    ap_11point: np.ndarray
    ap_allpoint: np.ndarray
    curves: tuple[PrecisionRecallCurve, ...]

    @property
    def map_11point(self) -> float:
        """Mean of the 11-point APs over the classes with ground truths; NaN without any."""
        return _mean(self.ap_11point)

    @property
    def map_allpoint(self) -> float:
        """Mean of the all-point APs over the classes with ground truths; NaN without any."""
        return _mean(self.ap_allpoint)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes without ground truths in the split, which the means leave out."""
        return tuple(name for name, count in zip(self.class_names, self.num_gt, strict=True) if count == 0)


def voc_ap(recall: np.ndarray, precision: np.ndarray, method: Method) -> float:
    """Average precision of a curve: `recall` (k,) ascending, `precision` (k,), both 0..1, by descending score.

    "11-point" (VOC2007) is the mean of the maximum precision at recalls of at least 0, 0.1, ..., 1; "all-point" the
    exact area under the precision made monotonic, VOC2010 and later (Everingham et al., IJCV 2010 section 4.2, and the
    VOC2010 devkit). Returns 0 for an empty curve.
    """
    recall, precision = np.asarray(recall, dtype=np.float64), np.asarray(precision, dtype=np.float64)
    # maximum precision at this recall or a higher one
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if method == "11-point":
        # k / 10, not steps of 0.1: 3 * 0.1 > 0.3, and a recall of exactly 3 / 10 would be below it
        return float(envelope[np.searchsorted(recall, np.arange(11) / 10, side="left")].mean())
    if method == "all-point":
        return float(np.sum(np.diff(recall, prepend=0.0) * envelope[:-1]))
    raise ValueError(f"method {method!r} is neither '11-point' nor 'all-point'")


def evaluate_voc(
    predictions: Sequence[Prediction], records: Sequence[Record], class_names: Sequence[str], iou: float = 0.5
) -> VocResult:
    """AP of each class by the rules of the VOC devkit (VOCevaldet.m).

    The predictions of a class are sorted by descending score over all images (stable). Each is compared with the ground
    truth of its class and image of largest IoU: at an IoU of at least `iou` it is ignored if that ground truth is
    difficult, a true positive if it is its first prediction, and a false positive otherwise. A prediction is never
    matched to its second best ground truth.

    Raises:
        ValueError: predictions and records differ in number, or a label is out of range.
    """
    names = tuple(class_names)
    flat_predictions, ground_truths = flatten_split(predictions, records, len(names))
    num_gt = ground_truths.num_gt(len(names))
    matches = voc_match(flat_predictions, ground_truths, iou)
    kept = ~matches.ignored
    curves = precision_recall(
        flat_predictions.labels[kept], flat_predictions.scores[kept], matches.true_positive[kept], num_gt
    )
    return VocResult(
        names, iou, num_gt, class_aps(curves, num_gt, "11-point"), class_aps(curves, num_gt, "all-point"), curves
    )


def precision_recall(
    labels: np.ndarray, scores: np.ndarray, true_positive: np.ndarray, num_gt: np.ndarray
) -> tuple[PrecisionRecallCurve, ...]:
    """Precision-recall curve of each class, empty for one without ground truths.

    Args:
        labels, scores, true_positive: (m,) of each prediction; equal scores keep their order.
        num_gt: (C,) number of ground truths.
    """
    order = np.lexsort((-scores, labels))  # by class, then by score; stable
    edges = np.searchsorted(labels[order], np.arange(len(num_gt) + 1))
    curves = []
    for label, total in enumerate(num_gt.tolist()):
        rows = order[edges[label] : edges[label + 1]] if total else order[:0]
        positives = np.cumsum(true_positive[rows])
        curves.append(
            PrecisionRecallCurve(positives / max(total, 1), positives / np.arange(1, len(rows) + 1), scores[rows])
        )
    return tuple(curves)


def class_aps(curves: Sequence[PrecisionRecallCurve], num_gt: np.ndarray, method: Method) -> np.ndarray:
    """(C,) float64, AP of each class; NaN for one without ground truths."""
    aps = [
        voc_ap(curve.recall, curve.precision, method) if total else float("nan")
        for curve, total in zip(curves, num_gt.tolist(), strict=True)
    ]
    return np.array(aps, dtype=np.float64)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
