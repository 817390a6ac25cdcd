"""From the network's scores and boxes to a picture's detections. Needs no torch: every runtime ends here."""

from collections.abc import Collection

import cv2
import numpy as np

from detection.inference.prediction import Prediction
from detection.inference.thresholds import DETECTIONS_PER_IMAGE, NMS_THRESHOLD, SCORE_THRESHOLD, TOPK_CANDIDATES


def postprocess(
    scores: np.ndarray,
    boxes: np.ndarray,
    *,
    width: int,
    height: int,
    confidence: float = SCORE_THRESHOLD,
    iou: float = NMS_THRESHOLD,
    candidates: int = TOPK_CANDIDATES,
    keep: int = DETECTIONS_PER_IMAGE,
    classes: Collection[int] | None = None,
) -> Prediction:
    """Threshold, suppress per class what overlaps a better box, and scale to the picture.

    Args:
        scores: (P, C) float32 probabilities of the objects' classes, 0 to 1.
        boxes: (P, 4) float32 xyxy, relative to the network's input.
        width, height: the original picture's, in pixels; boxes are clipped to it.
        confidence: only scores above it count.
        iou: of two boxes of a class that overlap by more, the better one stays.
        candidates: most boxes of a class that enter the suppression.
        keep: most detections a picture.
        classes: labels to look for; None for all.
    """
    if classes is not None:
        columns = np.array(sorted(set(classes)), np.int64)
        scores = scores[:, columns]
    flat = scores.ravel()
    above = np.flatnonzero(flat > confidence)  # a prior's number times the count of classes, plus the class
    values = flat[above]
    first = 6 * keep
    while True:
        # What scores less than the `keep` best that stay cannot matter: suppression goes from the best down.
        if len(values) <= first:
            chosen, chosen_values = above, values
        else:
            best = values >= np.partition(values, -first)[-first]
            chosen, chosen_values = above[best], values[best]
        priors, labels = np.divmod(chosen, scores.shape[1])
        found = nms(_to_pixels(boxes[priors], width, height), chosen_values, labels, confidence, iou, candidates)
        if len(found.scores) >= keep or len(values) <= first:
            break
        # As many as it takes if a like share of the next stays, and a little more; not more than double, as fewer do.
        first = min(2 * first, first * 5 * keep // (4 * max(1, len(found.scores))))
    found = Prediction(*(part[:keep] for part in found))
    return found if classes is None else found._replace(labels=columns[found.labels])


def _to_pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(k, 4) relative -> (k, 4) float32 in pixels, clipped to the picture."""
    scale = np.array([width, height, width, height], np.float32)
    return (boxes.clip(0, 1) * scale).astype(np.float32, copy=False)


def nms(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, confidence: float, iou: float, candidates: int
) -> Prediction:
    """Of each class at most `candidates`, and of those that overlap the best; best first."""
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # wholly outside the picture nothing is left
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
    for end in ends:
        stop = min(end, start + candidates)
        if stop > start:
            # cv2's stubs ask for lists; the scores' array spares one.
            part = cv2.dnn.NMSBoxes(rows[start:stop], ranked[start:stop], confidence, iou)  # type: ignore[arg-type]
            kept.append(np.asarray(part, np.int64) + start)
        start = end
    if not kept:
        return Prediction(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    index = np.concatenate(kept)
    index = order[index[np.argsort(-ranked[index], kind="stable")]]
    return Prediction(boxes[index], scores[index].astype(np.float32), labels[index])
