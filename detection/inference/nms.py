"""Post-processing: score threshold, per-class NMS, boxes scaled to pixels. Imports no torch; all runtimes use it."""

from collections.abc import Collection

import cv2
import numpy as np

from detection.inference.prediction import Prediction
from detection.inference.thresholds import (
    DETECTIONS_PER_IMAGE,
    NMS_THRESHOLD,
    SCORE_THRESHOLD,
    TOPK_CANDIDATES,
    Confidence,
)

#: Candidates in the first part that enters NMS, per detection to keep: enough for most crowded images.
FIRST_PART = 10
#: Factor on the number of further candidates that would do if the next ones were kept as often as those before.
MARGIN = 1.6


def postprocess(
    scores: np.ndarray,
    boxes: np.ndarray,
    *,
    width: int,
    height: int,
    confidence: Confidence = SCORE_THRESHOLD,
    iou: float = NMS_THRESHOLD,
    candidates: int = TOPK_CANDIDATES,
    keep: int = DETECTIONS_PER_IMAGE,
    classes: Collection[int] | None = None,
) -> Prediction:
    """Score threshold, per-class NMS, and boxes scaled to the pixels of the image.

    Args:
        scores: (P, C) float32 probabilities of the objects' classes, 0 to 1.
        boxes: (P, 4) float32 xyxy, relative to the network's input.
        width, height: size of the original image in pixels; boxes are clipped to it.
        confidence: score threshold, 0 to 1, or one for each of the C classes; lower scores are dropped.
        iou: NMS threshold; of two boxes of one class with a larger IoU, that with the lower score is dropped.
        candidates: maximum number of boxes of a class that enter NMS.
        keep: maximum number of detections per image.
        classes: class ids to return; None for all.
    """
    if classes is not None:
        columns = np.array(sorted(set(classes)), np.int64)
        scores = scores[:, columns]
        if isinstance(confidence, tuple):
            confidence = tuple(confidence[column] for column in columns.tolist())
    flat = scores.ravel()
    limit = np.asarray(confidence, scores.dtype)  # the scores' type: one number and equal numbers give equal results
    higher = (scores > limit).ravel() if limit.ndim else flat > limit
    above = np.flatnonzero(higher)  # index of the prior × number of classes + class
    values = flat.take(above)
    order = _descending(values)
    above, values = above.take(order), values.take(order)
    room = np.full(scores.shape[1], candidates)
    found = _NOTHING
    start, end = 0, FIRST_PART * keep
    while True:
        # NMS goes from the highest score down: lower scores than the `keep` best kept have no influence, and those
        # suppressed so far none on further ones. Equal scores are in one part, as their order depends on the class.
        while end < len(values) and values[end] == values[end - 1]:
            end += 1
        priors, labels = np.divmod(above[start:end], max(1, scores.shape[1]))
        pixels = _to_pixels(boxes.take(priors, axis=0), width, height)
        found, room = _suppress(found, Prediction(pixels, values[start:end], labels), room, iou)
        if len(found.scores) >= keep or end >= len(values):
            break
        wanted = MARGIN * (keep - len(found.scores)) * end / max(1, len(found.scores))
        start, end = end, end + max(keep, min(2 * end, int(wanted)))
    found = _best_first(found, keep)
    return found if classes is None else found._replace(labels=columns[found.labels])


def nms(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, confidence: Confidence, iou: float, candidates: int
) -> Prediction:
    """Per-class NMS of at most `candidates` boxes of each class; sorted by score, highest first.

    Args:
        boxes: (n, 4) float32 xyxy.
        scores: (n,) float32, 0 to 1.
        labels: (n,) int64, 0-based.
        confidence, iou, candidates: as for `postprocess`.
    """
    limits = np.asarray(confidence, scores.dtype)
    higher = np.flatnonzero(scores > (limits[labels] if limits.ndim else limits))
    order = higher[_descending(scores[higher])]
    room = np.full(labels.max(initial=-1) + 1, candidates)
    ranked = Prediction(boxes[order], scores[order], labels[order])
    return _best_first(_suppress(_NOTHING, ranked, room, iou)[0], len(order))


def _descending(scores: np.ndarray) -> np.ndarray:
    """Order of (n,) float32 scores of at least 0, the highest first; equal ones keep their order.

    Sorting integers of score and place takes a tenth of the time of a stable argsort.
    """
    # The bits of floats of one sign have the order of their values.
    keys = ((np.int64(0x7FFFFFFF) - scores.astype(np.float32, copy=False).view(np.int32)) << np.int64(32)) | np.arange(
        len(scores)
    )
    keys.sort()
    return keys & 0xFFFFFFFF


def _to_pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(k, 4) relative -> (k, 4) float32 in pixels, clipped to the image."""
    scale = np.array([width, height, width, height], np.float32)
    return (boxes.clip(0, 1) * scale).astype(np.float32, copy=False)


def _suppress(found: Prediction, ranked: Prediction, room: np.ndarray, iou: float) -> tuple[Prediction, np.ndarray]:
    """NMS of further candidates, sorted by score, after those that were found among higher scores.

    Args:
        found: detections so far.
        ranked: candidates; those without an area (clipping empties the ones outside the image) are left out.
        room: (C,) number of candidates of each class that may still enter.
        iou: NMS threshold.

    Returns:
        Detections by class, the best first in each; and the room that is left.
    """
    boxes = ranked.boxes
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if not inside.all():
        ranked = _take(ranked, np.flatnonzero(inside))
    kept_before = np.bincount(found.labels, minlength=len(room))
    if len(found.scores):
        ranked = Prediction(*map(np.concatenate, zip(found, ranked, strict=True)))
    counts = np.bincount(ranked.labels, minlength=len(room))
    entering = np.minimum(counts, room + kept_before)
    ranked = _take(ranked, np.argsort(ranked.labels.astype(np.int16), kind="stable"))  # by class, the best first
    xywh = np.empty((4, len(ranked.scores)))
    xywh[:] = ranked.boxes.T
    xywh[2:] -= xywh[:2]
    kept = []
    for start, count in zip((counts.cumsum() - counts).tolist(), entering.tolist(), strict=True):
        if count > 1:
            # OpenCV reads tuples of numbers in half the time that an array's rows take.
            rows = list(zip(*xywh[:, start : start + count].tolist(), strict=True))
            # cv2's stubs ask for lists; the scores' array spares one.
            part = cv2.dnn.NMSBoxes(rows, ranked.scores[start : start + count], 0.0, iou)  # type: ignore[arg-type]
            kept.append(np.asarray(part, np.int64) + start)
        elif count:
            kept.append(np.array([start]))
    return _take(ranked, np.concatenate(kept) if kept else np.empty(0, np.int64)), room + kept_before - entering


def _best_first(found: Prediction, keep: int) -> Prediction:
    """The `keep` best detections, sorted by score; equal scores keep their order."""
    return _take(found, np.argsort(-found.scores, kind="stable")[:keep])


def _take(prediction: Prediction, index: np.ndarray) -> Prediction:
    return Prediction(*(part.take(index, axis=0) for part in prediction))


_NOTHING = Prediction(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
