"""Verification of an exported detector against its source."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from data.boxes import box_iou
from data.datasets.records import Dataset
from data.errors import WeightsError
from data.images.image_slice import ImageFile
from detection.detector import Detector
from detection.evaluation.evaluate import evaluate
from detection.evaluation.label_mapping import label_map, relabel
from detection.inference.detection_session import load_runtime
from detection.inference.prediction import Prediction
from pelee.export.calibration import read_inputs
from pelee.export.verification import ExportCheck, Limit, rounded, verify_export
from pelee.runtime.session import RuntimeOptions
from weights.store import ModelFile

CONFIDENCE = 0.3  # detections from this score on must agree
AGREE_IOU = 0.95
PAIR_IOU = 0.5  # pairs with a smaller IoU are different detections
FEWEST = 10  # with fewer detections above CONFIDENCE, the best ones below it are also compared


class DetectorLimits(NamedTuple):
    """Limits of a verification.

    Attributes:
        agreement: least fraction of the detections that have a counterpart at `AGREE_IOU`.
        found: least fraction that have one at `PAIR_IOU`.
        map_loss: largest loss of VOC mAP, in percentage points.
    """

    agreement: float
    found: float
    map_loss: float


LIMITS = {"f32": DetectorLimits(0.99, 0.99, 0.1), "int8": DetectorLimits(0.0, 0.95, 0.5)}


class DetectorCheck(ExportCheck[Dataset]):
    """Images, and a split of a dataset to measure mAP on, if any."""


def verify(source: ModelFile, made: ModelFile, check: DetectorCheck, limits: DetectorLimits) -> dict[str, Any]:
    """Compare an export with its source and return the report. Raises WeightsError outside the limits."""
    reference = Detector(load_runtime(source, RuntimeOptions("torch", "cpu", "f32")), source.card)
    candidate = Detector(load_runtime(made, RuntimeOptions(device="cpu")), made.card)
    dataset = check.dataset
    report: dict[str, Any] = {"runtime": candidate.runtime.name, "reference": reference.runtime.name}
    return verify_export(
        "detector",
        report | compare(reference, candidate, check.images),
        [
            Limit("agreement", f"share of detections that agree at IoU {AGREE_IOU} {{}}", "least", limits.agreement),
            Limit("found", f"share of detections that were found at IoU {PAIR_IOU} {{}}", "least", limits.found),
        ],
        None if dataset is None else lambda: measure(reference, candidate, dataset),
        Limit("map_loss", "mAP {} lower", "most", limits.map_loss, digits=2),
    )


def compare(reference: Detector, candidate: Detector, paths: Sequence[ImageFile]) -> dict[str, Any]:
    """Compare the detections of both in images warped to the input.

    Returns:
        pictures (number of images), confidence (least compared score), detections (of both), agreement and found
        (fractions of them with a counterpart of the same class at `AGREE_IOU` and at `PAIR_IOU`), and over the pairs at
        `PAIR_IOU` largest_box_difference and mean_box_difference (pixels of the input, largest over a box's sides),
        largest_score_difference and mean_score_difference.
    """
    pairs = [
        (reference.predict_batch([image])[0], candidate.predict_batch([image])[0])
        for image in read_inputs(paths, reference.input_size)
    ]
    scores = np.sort(np.concatenate([first.scores for first, _ in pairs]))[::-1]
    if len(scores) == 0:
        raise WeightsError(f"the model finds nothing in {len(pairs)} images to compare; give others with --images")
    confidence = min(CONFIDENCE, float(scores[:FEWEST][-1]))
    overlaps: list[float] = []
    boxes: list[float] = []
    shifts: list[float] = []
    for first, second in pairs:
        for ours, theirs in ((first, second), (second, first)):
            for overlap, box, shift in _likes(ours, theirs, confidence):
                overlaps.append(overlap)
                if overlap >= PAIR_IOU:
                    boxes.append(box)
                    shifts.append(shift)
    found = np.array(overlaps)
    return {
        "pictures": len(pairs),
        "confidence": round(confidence, 4),
        "detections": len(found),
        "agreement": rounded((found >= AGREE_IOU).mean()),
        "found": rounded((found >= PAIR_IOU).mean()),
        "largest_box_difference": rounded(max(boxes, default=0)),
        "mean_box_difference": rounded(np.mean(boxes or [0])),
        "largest_score_difference": rounded(max(shifts, default=0)),
        "mean_score_difference": rounded(np.mean(shifts or [0])),
    }


def _likes(ours: Prediction, theirs: Prediction, confidence: float) -> Iterator[tuple[float, float, float]]:
    """Counterparts: for each detection of `ours`, that of `theirs` with the largest IoU, at any score.

    Yields IoU (0 for none), largest difference of a box side, and difference of the scores.
    """
    for box, score, label in zip(ours.boxes, ours.scores, ours.labels, strict=True):
        same = theirs.labels == label
        if score < confidence:
            continue
        if not same.any():
            yield 0.0, 0.0, 0.0
            continue
        others = theirs.boxes[same]
        overlap = box_iou(box, others)
        best = int(overlap.argmax())
        yield (
            float(overlap[best]),
            float(np.abs(others[best] - box).max()),
            float(abs(theirs.scores[same][best] - score)),
        )


def measure(reference: Detector, candidate: Detector, dataset: Dataset) -> dict[str, Any]:
    """VOC mAP (11-point, in percent) of both on a split."""
    maps = []
    for detector in (reference, candidate):
        mapping = label_map(detector.class_names, dataset.class_names)

        def detect(
            images: list[np.ndarray], detector: Detector = detector, mapping: np.ndarray = mapping
        ) -> list[Prediction]:
            return [relabel(found, mapping) for found in detector.predict_batch(images)]

        maps.append(100 * evaluate(detect, dataset).voc.map_11point)
    return {
        "split": f"{dataset.name} {dataset.split}: {len(dataset.records)} images",
        "map_reference": rounded(maps[0]),
        "map": rounded(maps[1]),
        "map_loss": rounded(maps[0] - maps[1]),
    }


def report(verification: dict[str, Any]) -> str:
    """Text report of a verification."""
    v = verification
    lines = [
        f"{v['runtime']} against {v['reference']}, {v['pictures']} images, {v['detections']} detections "
        f"of both from {v['confidence']:.2f} on:",
        f"  agree at IoU 0.95  {100 * v['agreement']:.2f} %   found at IoU 0.5  {100 * v['found']:.2f} %",
        f"  largest difference: box {v['largest_box_difference']:.3f} px of the input (mean "
        f"{v['mean_box_difference']:.3f}), score {v['largest_score_difference']:.4f} "
        f"(mean {v['mean_score_difference']:.4f})",
    ]
    if "map" in v:
        lines.append(f"  mAP {v['map_reference']:.2f} -> {v['map']:.2f} on {v['split']}")
    return "\n".join(lines)
