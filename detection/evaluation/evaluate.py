"""Measuring a detector on a data set: read, detect, count, and say what came out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.datasets.records import Dataset, Record
from data.errors import DatasetError, ImageError, SettingsError
from data.images.image_io import read_image
from data.images.prefetch import prefetch
from data.progress_bar import progress_bar
from detection.evaluation.coco_ap import CocoResult, evaluate_coco
from detection.evaluation.confusion_matrix import confusion_matrix
from detection.evaluation.f1_threshold import BestF1, best_f1
from detection.evaluation.tide import KINDS, Diagnosis, Errors, count_errors, diagnose
from detection.evaluation.voc_ap import VocResult, evaluate_voc
from detection.inference.prediction import Prediction

Detect = Callable[[list[np.ndarray]], list[Prediction]]
"""What finds the objects of a list of (H, W, 3) uint8 RGB pictures, as many predictions, labels as the data set's."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was measured, and on what.

    Attributes:
        dataset, split: names of the data set and of its part.
        pictures: how many were measured: all of the split.
        voc, coco: the two ways of counting.
        confusion: (C + 1, C + 1) int64, see `metrics.confusion_matrix`, at `confidence` and at the IoU of `voc`.
        diagnosis: what every detection is, at the IoU of `voc`.
        errors: the errors by kind, at `confidence`.
        best_f1: the confidence that serves best.
        confidence: the least score that counts in `confusion` and `errors`; the APs take every detection.
        seconds: wall clock of reading and detecting.
        seconds_detecting: the part of it spent in `detect`.
        warnings: what was odd and tolerated, a line each, the data set's own first.
    """

    dataset: str
    split: str
    pictures: int
    voc: VocResult
    coco: CocoResult
    confusion: np.ndarray
    diagnosis: Diagnosis
    errors: Errors
    best_f1: BestF1
    confidence: float
    seconds: float
    seconds_detecting: float
    warnings: tuple[str, ...] = ()

    def to_json(self, model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return everything but the curves as plain JSON values; what is not defined (NaN) is null.

        `model` says what was measured ({"name", "sha256"}) and `settings` how it detected; both go in as they are::

            {"model": {...}, "settings": {...}, "dataset": str, "split": str, "pictures": int,
             "voc": {"iou": 0.5, "map_11point": 0..1, "map_allpoint": 0..1},
             "coco": {"AP": 0..1, "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"},
             "classes": [{"name", "objects", "ap_11point", "ap_allpoint", "ap50", "ap50_95",
                          "best_f1": {"confidence", "f1"}, "errors": {kind: {"count", "gain"}, ...}}, ...],
             "best_f1": {"confidence", "f1"},
             "errors": {"confidence", "kinds": {kind: {"count", "gain"}, ...},
                        "recall_by_size": [{"size", "objects", "found", "found_by_all"}, ...]},
             "confusion_matrix": {"confidence", "iou", "counts": C + 1 rows (objects) of C + 1 (detected as)},
             "seconds": float, "seconds_detecting": float, "warnings": [str, ...]}

        "objects" counts neither difficult nor crowd ones; "ap50" and "ap50_95" are COCO's, the others VOC's. The kinds
        are `errors.KINDS`, and a gain is what all-point AP or mAP would gain without that kind.
        """
        columns = (self.voc.ap_11point, self.voc.ap_allpoint, self.coco.ap50, self.coco.ap)
        return {
            "model": dict(model),
            "settings": dict(settings),
            "dataset": self.dataset,
            "split": self.split,
            "pictures": self.pictures,
            "voc": {
                "iou": self.voc.iou,
                "map_11point": _number(self.voc.map_11point),
                "map_allpoint": _number(self.voc.map_allpoint),
            },
            "coco": {name: _number(value) for name, value in self.coco.numbers.items()},
            "classes": [
                {"name": name, "objects": int(self.voc.objects[label])}
                | {
                    key: _number(float(column[label]))
                    for key, column in zip(("ap_11point", "ap_allpoint", "ap50", "ap50_95"), columns, strict=True)
                }
                | {
                    "best_f1": _best(self.best_f1.class_confidence[label], self.best_f1.class_f1[label]),
                    "errors": _by_kind(self.errors.counts[:, label], self.errors.gains[:, label]),
                }
                for label, name in enumerate(self.voc.class_names)
            ],
            "best_f1": _best(self.best_f1.confidence, self.best_f1.f1),
            "errors": {
                "confidence": self.confidence,
                "kinds": _by_kind(self.errors.counts.sum(axis=1), self.errors.map_gains),
                "recall_by_size": [size._asdict() for size in self.errors.sizes],
            },
            "confusion_matrix": {
                "confidence": self.confidence,
                "iou": self.voc.iou,
                "counts": self.confusion.tolist(),
            },
            "seconds": round(self.seconds, 3),
            "seconds_detecting": round(self.seconds_detecting, 3),
            "warnings": list(self.warnings),
        }


def evaluate(
    detect: Detect,
    dataset: Dataset,
    *,
    batch: int = 16,
    workers: int = 4,
    confidence: float = 0.3,
    progress: bool = True,
) -> Evaluation:
    """Detect in every picture of a split and measure; no picture is skipped.

    Args:
        detect: called with up to `batch` pictures at a time, in the split's order.
        dataset: with at least one object; its class names are those that `detect`'s labels mean.
        batch: pictures a call.
        workers: threads that read pictures ahead; at most two batches wait in memory.
        confidence: the least score of a detection in the confusion matrix and among the errors.
        progress: a bar on stderr, where that is a terminal.

    Raises:
        DatasetError: a picture cannot be read, or the split has no object to find.
        SettingsError: a batch of no pictures, no workers.
    """
    if min(batch, workers) < 1:
        raise SettingsError(f"a batch of {batch} pictures read by {workers} workers; expected at least 1 of each")
    records = dataset.records
    if not any(len(record.labels) for record in records):
        raise DatasetError(f"{dataset.name} {dataset.split}: no objects in {len(records)} pictures, nothing to measure")
    predictions: list[Prediction] = []
    odd_sizes: list[str] = []
    detecting, started = 0.0, time.perf_counter()
    with progress_bar("evaluating", len(records), shown=progress) as advance:
        for part, images in _batches(records, batch, workers):
            begun = time.perf_counter()
            found = detect(images)
            detecting += time.perf_counter() - begun
            if len(found) != len(images):
                raise ValueError(f"detect returned {len(found)} predictions for {len(images)} pictures")
            predictions += found
            odd_sizes += [
                record.image.name
                for record, image in zip(part, images, strict=True)
                if record.size not in (None, (image.shape[1], image.shape[0]))
            ]
            advance(len(images))
    seconds = time.perf_counter() - started
    warnings = list(dataset.warnings)
    if odd_sizes:  # boxes of another size than the picture's lie in the wrong place, and no number would show why
        warnings.append(f"{len(odd_sizes)} pictures have not the size that is annotated; the first is {odd_sizes[0]}")
    voc = evaluate_voc(predictions, records, dataset.class_names)
    diagnosis = diagnose(predictions, records, dataset.class_names, voc.iou)
    return Evaluation(
        dataset=dataset.name,
        split=dataset.split,
        pictures=len(records),
        voc=voc,
        coco=evaluate_coco(predictions, records, dataset.class_names),
        confusion=confusion_matrix(predictions, records, dataset.class_names, confidence, voc.iou),
        diagnosis=diagnosis,
        errors=count_errors(diagnosis, records, confidence),
        best_f1=best_f1(voc),
        confidence=confidence,
        seconds=seconds,
        seconds_detecting=detecting,
        warnings=tuple(warnings),
    )


def merge_predictions(parts: Iterable[Sequence[tuple[int, Prediction]]], total: int) -> list[Prediction]:
    """Put the predictions of several processes in the records' order, each picture once.

    Args:
        parts: one list a process of (index of the record, prediction). A `DistributedSampler` repeats some pictures
            to give every process as many; of the repetitions the first is taken, they are the same.
        total: how many records there are.

    Raises:
        ValueError: an index out of range, or a record without a prediction: a mean over less than all is no result.
    """
    merged: list[Prediction | None] = [None] * total
    for part in parts:
        for index, prediction in part:
            if not 0 <= index < total:
                raise ValueError(f"a prediction for record {index}, but there are {total}")
            if merged[index] is None:
                merged[index] = prediction
    missing = [index for index, prediction in enumerate(merged) if prediction is None]
    if missing:
        raise ValueError(f"{len(missing)} of {total} records have no prediction, the first is {missing[0]}")
    return [prediction for prediction in merged if prediction is not None]


def _batches(records: Sequence[Record], batch: int, workers: int) -> Iterator[tuple[list[Record], list[np.ndarray]]]:
    """Yield the records in parts with their pictures: while one is in work, another is read in threads."""
    part: list[Record] = []
    images: list[np.ndarray] = []
    read = prefetch(records, lambda record: read_image(record.image), workers=workers, ahead=batch)
    for record, found in read:
        if isinstance(found, ImageError):
            raise DatasetError(f"{found}; a measurement leaves no picture out: mend the data set") from found
        part.append(record)
        images.append(found)
        if len(part) == batch:
            yield part, images
            part, images = [], []
    if part:
        yield part, images


def _best(confidence: float, f1: float) -> dict[str, float | None]:
    return {"confidence": _number(float(confidence)), "f1": _number(float(f1))}


def _by_kind(counts: np.ndarray, gains: np.ndarray) -> dict[str, dict[str, float | None]]:
    return {
        kind: {"count": int(count), "gain": _number(float(gain))}
        for kind, count, gain in zip(KINDS, counts, gains, strict=True)
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
