"""From the network's scores and boxes to a picture's detections. Needs no torch: every runtime ends here."""

from collections.abc import Collection
from typing import NamedTuple

import cv2
import numpy as np

# Section 3.3 of the paper and SSD's evaluation.
CONFIDENCE = 0.01
IOU = 0.45
CANDIDATES = 400
KEEP = 200


class Prediction(NamedTuple):
    """What was found in one picture, best first.

    boxes: (k, 4) float32, xyxy in pixels of the original picture; scores: (k,) float32; labels: (k,) int64, 0-based.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def postprocess(
    scores: np.ndarray,
    boxes: np.ndarray,
    *,
    width: int,
    height: int,
    confidence: float = CONFIDENCE,
    iou: float = IOU,
    candidates: int = CANDIDATES,
    keep: int = KEEP,
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
    scale = np.array([width, height, width, height], np.float32)
    boxes = boxes.clip(0, 1) * scale
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)  # a box wholly outside the picture has nothing left
    found: list[tuple[np.ndarray, np.ndarray, int]] = []  # (indices, scores, label)
    for label in range(scores.shape[1]) if classes is None else sorted(set(classes)):
        column = scores[:, label]
        index = np.flatnonzero((column > confidence) & inside)
        if len(index) > candidates:
            index = index[np.argpartition(column[index], -candidates)[-candidates:]]
        if len(index) == 0:
            continue
        xywh = boxes[index].astype(np.float64)
        xywh[:, 2:] -= xywh[:, :2]
        # cv2's stubs ask for lists; arrays spare their making.
        kept = np.array(cv2.dnn.NMSBoxes(xywh, column[index].astype(np.float32), confidence, iou), np.int64)  # type: ignore[arg-type]
        found.append((index[kept], column[index[kept]], label))
    if not found:
        return Prediction(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    all_scores = np.concatenate([s for _, s, _ in found])
    labels = np.concatenate([np.full(len(i), label, np.int64) for i, _, label in found])
    order = np.argsort(-all_scores, kind="stable")[:keep]
    index = np.concatenate([i for i, _, _ in found])[order]
    return Prediction(boxes[index].astype(np.float32), all_scores[order].astype(np.float32), labels[order])
