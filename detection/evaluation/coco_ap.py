"""Average precision by COCO's protocol (pycocotools)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.datasets.records import Record
from detection.evaluation.matching import Boxes, gather

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


COCO_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


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


def _annotations(boxes: Boxes) -> list[dict[str, Any]]:
    """COCO's annotations; the ids start at 1, because pycocotools takes a match with id 0 for none."""
    xywh = np.concatenate([boxes.boxes[:, :2], boxes.boxes[:, 2:] - boxes.boxes[:, :2]], axis=1).tolist()
    rows = zip(boxes.pictures.tolist(), boxes.labels.tolist(), xywh, strict=True)
    return [
        {"id": number, "image_id": picture, "category_id": label, "bbox": box}
        for number, (picture, label, box) in enumerate(rows, start=1)
    ]
