"""How good detections are: Pascal VOC's AP, COCO's twelve numbers and the confusion matrix, without torch.

Every function takes one `Prediction` (xyxy in pixels of the picture, scores, 0-based labels) for each `Record`, in the
same order. VOC's AP and the confusion matrix treat an object that is `difficult` or `crowd` alike: neither asked for
nor punished. The area that counts is continuous, without the devkit's `+ 1`: a reader turns VOC's inclusive pixels into
[xmin - 1, ymin - 1, xmax, ymax], of which the continuous width is the number of pixels already.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from data.datasets.records import Record
from detection.overlaps import Boxes, box_iou, check_fit, gather, match

if TYPE_CHECKING:
    from detection.postprocess import Prediction

COCO_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
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


@dataclass(frozen=True, slots=True, eq=False)
class CocoResult:
    """COCO's numbers, as pycocotools counts them.

    Attributes:
        class_names: the C names.
        numbers: the twelve of `COCO_NUMBERS`, 0..1; NaN where there is nothing to measure (no small object, say).
        ap: (C,) float64, AP over the IoUs 0.50:0.95; NaN for a class without an object.
        ap50: (C,) float64, AP at IoU 0.50; NaN likewise.
    """

    class_names: tuple[str, ...]
    numbers: dict[str, float]
    ap: np.ndarray
    ap50: np.ndarray


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


def evaluate_coco(
    predictions: Sequence[Prediction], records: Sequence[Record], class_names: Sequence[str]
) -> CocoResult:
    """COCO's twelve numbers and the APs of the classes, through pycocotools.

    A crowd object is `iscrowd`: any number of detections may lie in it unpunished. A difficult one (VOC) is ignored as
    an ordinary object, by its IoU, at most once; `iscrowd` would measure it by the share of the detection that it
    covers, and so forgive every small false positive inside of a large difficult object. pycocotools derives `ignore`
    from `iscrowd` alone, which is why its step is taken again below. Areas are those of the records.

    Raises:
        ValueError: as `evaluate_voc`.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):  # type: ignore[misc, unused-ignore]
        def _prepare(self) -> None:
            super()._prepare()
            for truths in self._gts.values():
                for truth in truths:
                    truth["ignore"] = truth["iscrowd"] or truth["difficult"]

    names = tuple(class_names)
    found, objects = gather(predictions, records, len(names))
    truths = _annotations(objects)
    areas = np.concatenate([np.zeros(0), *(record.areas for record in records)])
    crowd = np.concatenate([np.zeros(0, bool), *(record.crowd for record in records)])
    for truth, area, is_crowd, ignored in zip(truths, areas.tolist(), crowd.tolist(), objects.ignored, strict=True):
        truth.update(area=area, iscrowd=int(is_crowd), difficult=int(ignored))
    detections = _annotations(found)
    for detection, score in zip(detections, found.scores.tolist(), strict=True):
        detection.update(score=score, area=detection["bbox"][2] * detection["bbox"][3], iscrowd=0)

    frame = {
        "images": [{"id": index} for index in range(len(records))],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
    }
    with redirect_stdout(io.StringIO()):  # it prints its progress and a table
        ground_truth, results = COCO(), COCO()
        for index, annotations in ((ground_truth, truths), (results, detections)):
            index.dataset = {**frame, "annotations": annotations}
            index.createIndex()
        evaluation = Evaluation(ground_truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = {name: float(value) for name, value in zip(COCO_NUMBERS, evaluation.stats, strict=True)}
    # (10 IoUs, 101 recalls, C, 4 areas, 3 limits) -> all areas, 100 detections; -1 stands for "no object"
    precision = np.where(evaluation.eval["precision"] < 0, np.nan, evaluation.eval["precision"])[:, :, :, 0, 2]
    return CocoResult(
        class_names=names,
        numbers={name: value if value >= 0 else float("nan") for name, value in numbers.items()},
        ap=precision.mean(axis=(0, 1)),
        ap50=precision[0].mean(axis=0),
    )


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


def _annotations(boxes: Boxes) -> list[dict[str, Any]]:
    """COCO's annotations; the ids start at 1, because pycocotools takes a match with id 0 for none."""
    xywh = np.concatenate([boxes.boxes[:, :2], boxes.boxes[:, 2:] - boxes.boxes[:, :2]], axis=1).tolist()
    rows = zip(boxes.pictures.tolist(), boxes.labels.tolist(), xywh, strict=True)
    return [
        {"id": number, "image_id": picture, "category_id": label, "bbox": box}
        for number, (picture, label, box) in enumerate(rows, start=1)
    ]


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
