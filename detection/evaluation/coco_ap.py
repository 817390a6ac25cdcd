"""Average precision by COCO's protocol (pycocotools)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.datasets.records import Record
from detection.evaluation.matching import SplitBoxes, flatten_split

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


COCO_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""Names of the twelve COCO metrics, in the order of pycocotools."""


@dataclass(frozen=True, slots=True, eq=False)
class CocoResult:
    """COCO metrics computed by pycocotools.

    Attributes:
        class_names: names of the C classes.
        numbers: the twelve `COCO_METRICS`, 0..1; NaN where undefined (for example without small objects).
        ap: (C,) float64, AP over the IoUs 0.50:0.95; NaN for a class without ground truths.
        ap50: (C,) float64, AP at IoU 0.50; NaN likewise.
    """

    class_names: tuple[str, ...]
    numbers: dict[str, float]
    ap: np.ndarray
    ap50: np.ndarray


def evaluate_coco(
    predictions: Sequence[Prediction], records: Sequence[Record], class_names: Sequence[str]
) -> CocoResult:
    """The twelve COCO metrics and the AP of each class, computed by pycocotools.

    Crowd ground truths are `iscrowd`: any number of predictions in them is ignored. Difficult ones (VOC) are ignored
    like ordinary ground truths, by IoU and at most once; with `iscrowd`, the overlap would be the covered fraction of
    the prediction, and every small false positive inside a large difficult object would be ignored. pycocotools derives
    `ignore` from `iscrowd` alone, so `_prepare` is overridden. Areas are those of the records.

    Raises:
        ValueError: as `evaluate_voc`.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class DifficultAwareCOCOeval(COCOeval):  # type: ignore[misc, unused-ignore]
        def _prepare(self) -> None:
            super()._prepare()
            for truths in self._gts.values():
                for truth in truths:
                    truth["ignore"] = truth["iscrowd"] or truth["difficult"]

    names = tuple(class_names)
    flat_predictions, ground_truths = flatten_split(predictions, records, len(names))
    truths = _annotations(ground_truths)
    areas = np.concatenate([np.zeros(0), *(record.areas for record in records)])
    crowd = np.concatenate([np.zeros(0, bool), *(record.crowd for record in records)])
    for truth, area, is_crowd, ignored in zip(
        truths, areas.tolist(), crowd.tolist(), ground_truths.ignored, strict=True
    ):
        truth.update(area=area, iscrowd=int(is_crowd), difficult=int(ignored))
    detections = _annotations(flat_predictions)
    for detection, score in zip(detections, flat_predictions.scores.tolist(), strict=True):
        detection.update(score=score, area=detection["bbox"][2] * detection["bbox"][3], iscrowd=0)

    dataset = {
        "images": [{"id": index} for index in range(len(records))],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
    }
    with redirect_stdout(io.StringIO()):  # pycocotools prints progress and a table
        truth_index, results = COCO(), COCO()
        for index, annotations in ((truth_index, truths), (results, detections)):
            index.dataset = {**dataset, "annotations": annotations}
            index.createIndex()
        evaluation = DifficultAwareCOCOeval(truth_index, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = {name: float(value) for name, value in zip(COCO_METRICS, evaluation.stats, strict=True)}
    # (10 IoUs, 101 recalls, C, 4 areas, 3 limits) -> all areas, 100 detections; -1 means "no ground truths"
    precision = np.where(evaluation.eval["precision"] < 0, np.nan, evaluation.eval["precision"])[:, :, :, 0, 2]
    return CocoResult(
        class_names=names,
        numbers={name: value if value >= 0 else float("nan") for name, value in numbers.items()},
        ap=precision.mean(axis=(0, 1)),
        ap50=precision[0].mean(axis=0),
    )


def _annotations(boxes: SplitBoxes) -> list[dict[str, Any]]:
    """COCO annotations; ids start at 1, because pycocotools treats a match with id 0 as none."""
    xywh = np.concatenate([boxes.boxes[:, :2], boxes.boxes[:, 2:] - boxes.boxes[:, :2]], axis=1).tolist()
    rows = zip(boxes.images.tolist(), boxes.labels.tolist(), xywh, strict=True)
    return [
        {"id": number, "image_id": image, "category_id": label, "bbox": box}
        for number, (image, label, box) in enumerate(rows, start=1)
    ]
