"""How good detections are: Pascal VOC's AP, COCO's twelve numbers and the confusion matrix, without torch.

Every function takes one `Prediction` (xyxy in pixels of the picture, scores, 0-based labels) for each `Record`, in the
same order. VOC's AP and the confusion matrix treat an object that is `difficult` or `crowd` alike: neither asked for
nor punished. The area that counts is continuous, without the devkit's `+ 1`: a reader turns VOC's inclusive pixels into
[xmin - 1, ymin - 1, xmax, ymax], of which the continuous width is the number of pixels already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from data.datasets.records import Record
from detection.evaluation.matching import gather, match

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


"""The names of COCO's twelve numbers, in the order in which pycocotools gives them."""
Method = Literal["11-point", "all-point"]


class Curve(NamedTuple):
    """Precision over recall of one class: three (k,) float64 arrays, by falling score; ignored detections left out."""

    recall: np.ndarray
    precision: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class VocResult:
    """AP of every class by the rules of the Pascal VOC devkit.

    Attributes:
        class_names: the C names.
        iou: the least overlap of a true positive.
        objects: (C,) int64, objects that are neither difficult nor crowd.
        ap_11point: (C,) float64 in 0..1, VOC2007's AP; NaN for a class without an object.
        ap_allpoint: (C,) float64 in 0..1, the area under the curve (VOC2010 and later); NaN likewise.
        curves: C curves, empty for a class without an object.
    """

    class_names: tuple[str, ...]
    iou: float
    objects: np.ndarray
    ap_11point: np.ndarray
    ap_allpoint: np.ndarray
    curves: tuple[Curve, ...]

    @property
    def map_11point(self) -> float:
        """Mean of the 11-point APs over the classes that have an object; NaN where none has."""
        return _mean(self.ap_11point)

    @property
    def map_allpoint(self) -> float:
        """Mean of the all-point APs over the classes that have an object; NaN where none has."""
        return _mean(self.ap_allpoint)

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes that the means leave out, because the split has no object of them to find."""
        return tuple(name for name, count in zip(self.class_names, self.objects, strict=True) if count == 0)


def voc_ap(recall: np.ndarray, precision: np.ndarray, method: Method) -> float:
    """Average precision of a curve: `recall` (k,) rising, `precision` (k,), both 0..1, by falling score.

    "11-point" is VOC2007's mean of the best precision at recalls of at least 0, 0.1, ..., 1; "all-point" the exact
    area under the precision made monotonic, VOC2010 and later (Everingham et al., IJCV 2010 section 4.2, and the
    VOC2010 devkit). Returns 0 for an empty curve.
    """
    recall, precision = np.asarray(recall, dtype=np.float64), np.asarray(precision, dtype=np.float64)
    # the best precision at this recall or a higher one
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if method == "11-point":
        # k / 10, not steps of 0.1: 3 * 0.1 is more than 0.3, and a recall of exactly 3 / 10 would fall short of it
        return float(envelope[np.searchsorted(recall, np.arange(11) / 10, side="left")].mean())
    if method == "all-point":
        return float(np.sum(np.diff(recall, prepend=0.0) * envelope[:-1]))
    raise ValueError(f"method {method!r} is neither '11-point' nor 'all-point'")


def evaluate_voc(
    predictions: Sequence[Prediction], records: Sequence[Record], class_names: Sequence[str], iou: float = 0.5
) -> VocResult:
    """AP of every class by the rules of the VOC devkit (VOCevaldet.m).

    A class's detections go by falling score over all pictures (equal scores in the order given). Each is held against
    the object of its class and picture that it overlaps most: at an IoU of at least `iou` it is ignored if that object
    is difficult, a true positive if it is the first to find it, and a false positive otherwise. A detection never
    falls back to its second best object.

    Raises:
        ValueError: predictions and records differ in number, or a label lies outside of the class names.
    """
    names = tuple(class_names)
    found, objects = gather(predictions, records, len(names))
    counted = np.bincount(objects.labels[~objects.ignored], minlength=len(names))
    matches = match(found, objects, iou)
    kept = ~matches.ignored
    curves = precision_recall(found.labels[kept], found.scores[kept], matches.right[kept], counted)
    return VocResult(
        names, iou, counted, class_aps(curves, counted, "11-point"), class_aps(curves, counted, "all-point"), curves
    )


def precision_recall(
    labels: np.ndarray, scores: np.ndarray, right: np.ndarray, counted: np.ndarray
) -> tuple[Curve, ...]:
    """The curve of every class, empty for one without an object.

    Args:
        labels, scores, right: (m,) of every detection; equal scores stay in their order.
        counted: (C,) objects to find.
    """
    order = np.lexsort((-scores, labels))  # by class, then by score; stable
    edges = np.searchsorted(labels[order], np.arange(len(counted) + 1))
    curves = []
    for label, total in enumerate(counted.tolist()):
        rows = order[edges[label] : edges[label + 1]] if total else order[:0]
        positives = np.cumsum(right[rows])
        curves.append(Curve(positives / max(total, 1), positives / np.arange(1, len(rows) + 1), scores[rows]))
    return tuple(curves)


def class_aps(curves: Sequence[Curve], counted: np.ndarray, method: Method) -> np.ndarray:
    """(C,) float64, the AP of every class; NaN for one without an object."""
    aps = [
        voc_ap(curve.recall, curve.precision, method) if total else float("nan")
        for curve, total in zip(curves, counted.tolist(), strict=True)
    ]
    return np.array(aps, dtype=np.float64)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
