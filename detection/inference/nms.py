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
    values = flat[above]
    first = 6 * keep
    while True:
        # NMS goes from the highest score down, so scores below the `keep` best kept boxes have no influence.
        if len(values) <= first:
            chosen, chosen_values = above, values
        else:
            best = values >= np.partition(values, -first)[-first]
            chosen, chosen_values = above[best], values[best]
        priors, labels = np.divmod(chosen, scores.shape[1])
        found = nms(_to_pixels(boxes[priors], width, height), chosen_values, labels, confidence, iou, candidates)
        if len(found.scores) >= keep or len(values) <= first:
            break
        # Enough if the same share of the next ones is kept, plus a margin; at most double.
        first = min(2 * first, first * 5 * keep // (4 * max(1, len(found.scores))))
    found = Prediction(*(part[:keep] for part in found))
    return found if classes is None else found._replace(labels=columns[found.labels])


def _to_pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(k, 4) relative -> (k, 4) float32 in pixels, clipped to the image."""
    scale = np.array([width, height, width, height], np.float32)
    return (boxes.clip(0, 1) * scale).astype(np.float32, copy=False)


def nms(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, confidence: Confidence, iou: float, candidates: int
) -> Prediction:
    """Per-class NMS of at most `candidates` boxes of each class; sorted by score, highest first."""
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # clipping empties those outside
    order = np.flatnonzero(inside)
    order = order[np.argsort(-scores[order], kind="stable")]
    order = order[np.argsort(labels[order], kind="stable")]  # by class, the best first in each
    ends = np.cumsum(np.bincount(labels[order])).tolist()
    xywh = boxes[order].astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    rows = xywh.tolist()  # OpenCV reads a list's rows in half the time that an array's take
    ranked = scores[order].astype(np.float32)
    kept = []
    start = 0
    for label, end in enumerate(ends):
        stop = min(end, start + candidates)
        if stop > start:
            limit = confidence[label] if isinstance(confidence, tuple) else confidence
            # cv2's stubs ask for lists; the scores' array spares one.
            part = cv2.dnn.NMSBoxes(rows[start:stop], ranked[start:stop], limit, iou)  # type: ignore[arg-type]
            kept.append(np.asarray(part, np.int64) + start)
        start = end
    if not kept:
        return Prediction(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    index = np.concatenate(kept)
    index = order[index[np.argsort(-ranked[index], kind="stable")]]
    return Prediction(boxes[index], scores[index].astype(np.float32), labels[index])
