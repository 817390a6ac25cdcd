"""Evaluation of a detector on a dataset split: read images, detect, compute all metrics."""

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
from detection.evaluation.tide import ERROR_KINDS, KIND_TITLES, DetectionErrors, Diagnosis, count_errors, diagnose
from detection.evaluation.voc_ap import VocResult, evaluate_voc
from detection.inference.prediction import Prediction

Detect = Callable[[list[np.ndarray]], list[Prediction]]
"""Detector of a list of (H, W, 3) uint8 RGB images: a prediction for each, with the labels of the dataset. Calls come
from two threads at once."""
CALLS = 2  # of `Detect` at once


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        dataset, split: names of the dataset and of its split.
        images: number of images, all of the split.
        voc, coco: metrics of VOC and COCO.
        confusion: (C + 1, C + 1) int64, see `confusion_matrix.confusion_matrix`, at `confidence` and the IoU of `voc`.
        diagnosis: kind of every prediction, at the IoU of `voc`.
        errors: errors by kind, at `confidence`.
        best_f1: confidence threshold of the best F1.
        confidence: minimum score for `confusion` and `errors`; the APs use all predictions.
        seconds: wall time of reading and detecting.
        seconds_detecting: part of it spent in `detect`.
        warnings: one line each, those of the dataset first.
    """

    dataset: str
    split: str
    images: int
    voc: VocResult
    coco: CocoResult
    confusion: np.ndarray
    diagnosis: Diagnosis
    errors: DetectionErrors
    best_f1: BestF1
    confidence: float
    seconds: float
    seconds_detecting: float
    warnings: tuple[str, ...] = ()

    def to_json(self, model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """Plain JSON values of everything but the curves; undefined values (NaN) are null.

        `model` ({"name", "sha256"}) and `settings` (of the detector) are included unchanged::

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

        "objects" excludes difficult and crowd ones; "ap50" and "ap50_95" are COCO's, the others VOC's. The kinds are
        the values of `tide.KIND_TITLES`; a gain is the all-point AP or mAP gained without that kind.
        """
        columns = (self.voc.ap_11point, self.voc.ap_allpoint, self.coco.ap50, self.coco.ap)
        return {
            "model": dict(model),
            "settings": dict(settings),
            "dataset": self.dataset,
            "split": self.split,
            "pictures": self.images,
            "voc": {
                "iou": self.voc.iou,
                "map_11point": _number(self.voc.map_11point),
                "map_allpoint": _number(self.voc.map_allpoint),
            },
            "coco": {name: _number(value) for name, value in self.coco.numbers.items()},
            "classes": [
                {"name": name, "objects": int(self.voc.num_gt[label])}
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
    """Run a detector on all images of a split and compute the metrics; no image is skipped.

    Args:
        detect: called with up to `batch` images at a time, by two threads.
        dataset: has at least one object; its class names correspond to the labels of `detect`.
        batch: images per call.
        workers: threads that prefetch images; at most four batches are in memory.
        confidence: minimum score for the confusion matrix and the errors.
        progress: show a progress bar on stderr if that is a terminal.

    Raises:
        DatasetError: an image cannot be read, or the split has no objects.
        SettingsError: batch or workers below 1.
    """
    if min(batch, workers) < 1:
        raise SettingsError(f"a batch of {batch} images read by {workers} workers; expected at least 1 of each")
    records = dataset.records
    if not any(len(record.labels) for record in records):
        raise DatasetError(f"{dataset.name} {dataset.split}: no objects in {len(records)} images, nothing to measure")
    predictions: list[Prediction] = []
    wrong_sizes: list[str] = []
    spans: list[tuple[float, float]] = []

    def timed_detect(pair: tuple[list[Record], list[np.ndarray]]) -> list[Prediction]:
        call_start = time.perf_counter()
        found = detect(pair[1])
        spans.append((call_start, time.perf_counter()))
        return found

    start = time.perf_counter()
    with progress_bar("evaluating", len(records), shown=progress) as advance:
        # Two calls at once: one prepares and postprocesses its images while the network has those of the other.
        calls = prefetch(_batches(records, batch, workers), timed_detect, workers=CALLS, ahead=CALLS)
        for (part, images), found in calls:
            if isinstance(found, ImageError):
                raise found
            if len(found) != len(images):
                raise ValueError(f"detect returned {len(found)} predictions for {len(images)} images")
            predictions += found
            wrong_sizes += [
                record.image.name
                for record, image in zip(part, images, strict=True)
                if record.size not in (None, (image.shape[1], image.shape[0]))
            ]
            advance(len(images))
    seconds = time.perf_counter() - start
    warnings = list(dataset.warnings)
    if wrong_sizes:  # boxes annotated for another image size are misplaced, which no metric would reveal
        warnings.append(
            f"{len(wrong_sizes)} images differ in size from their annotation; the first is {wrong_sizes[0]}"
        )
    voc = evaluate_voc(predictions, records, dataset.class_names)
    diagnosis = diagnose(predictions, records, dataset.class_names, voc.iou)
    return Evaluation(
        dataset=dataset.name,
        split=dataset.split,
        images=len(records),
        voc=voc,
        coco=evaluate_coco(predictions, records, dataset.class_names),
        confusion=confusion_matrix(predictions, records, dataset.class_names, confidence, voc.iou),
        diagnosis=diagnosis,
        errors=count_errors(diagnosis, records, confidence),
        best_f1=best_f1(voc),
        confidence=confidence,
        seconds=seconds,
        seconds_detecting=_covered(spans),
        warnings=tuple(warnings),
    )


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals (begin, end)."""
    total, covered_to = 0.0, -math.inf
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, covered_to))
        covered_to = max(covered_to, end)
    return total


def merge_predictions(parts: Iterable[Sequence[tuple[int, Prediction]]], total: int) -> list[Prediction]:
    """Merge the predictions of several processes in the order of the records, each image once.

    Args:
        parts: one list per process of (record index, prediction). A `DistributedSampler` repeats some images so that
            all processes have the same number; the first of the (equal) repetitions is used.
        total: number of records.

    Raises:
        ValueError: an index out of range, or a record without a prediction.
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
    """Batches of records and their images; the next batch is prefetched in threads."""
    part: list[Record] = []
    images: list[np.ndarray] = []
    read = prefetch(records, lambda record: read_image(record.image), workers=workers, ahead=batch)
    for record, found in read:
        if isinstance(found, ImageError):
            raise DatasetError(f"{found}; evaluation needs all images of the split: repair the dataset") from found
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
        KIND_TITLES[kind]: {"count": int(count), "gain": _number(float(gain))}
        for kind, count, gain in zip(ERROR_KINDS, counts, gains, strict=True)
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
