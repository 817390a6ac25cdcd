"""Detections and objects of a whole split in one set of arrays, and which of them belong together, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.boxes import box_iou
from data.datasets.records import Record

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


class Boxes(NamedTuple):
    """Boxes of all pictures in a row: pictures (m,) rising, boxes (m, 4) float64, labels (m,)."""

    pictures: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray  # (m,) float64; ones for objects
    ignored: np.ndarray  # (m,) bool; false for detections


def gather(predictions: Sequence[Prediction], records: Sequence[Record], classes: int) -> tuple[Boxes, Boxes]:
    """All detections and all objects, each in one set of arrays."""
    check_fit(predictions, records, classes)

    def join(parts: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
        return np.concatenate([empty, *parts]).astype(empty.dtype, copy=False)

    no_boxes, no_numbers, no_labels, no_flags = np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool)
    index = np.arange(len(records))
    labels = join([prediction.labels for prediction in predictions], no_labels)
    found = Boxes(
        np.repeat(index, [len(prediction.labels) for prediction in predictions]),
        join([prediction.boxes for prediction in predictions], no_boxes),
        labels,
        join([prediction.scores for prediction in predictions], no_numbers),
        np.zeros(len(labels), dtype=bool),
    )
    labels = join([record.labels for record in records], no_labels)
    objects = Boxes(
        np.repeat(index, [len(record.labels) for record in records]),
        join([record.boxes for record in records], no_boxes),
        labels,
        np.ones(len(labels)),
        join([record.difficult | record.crowd for record in records], no_flags),
    )
    return found, objects


def check_fit(predictions: Sequence[Prediction], records: Sequence[Record], classes: int) -> None:
    """Raise ValueError where predictions and records do not fit each other or the classes."""
    if len(predictions) != len(records):
        raise ValueError(f"{len(predictions)} predictions for {len(records)} records; there must be one for each")
    for name, labels in (("prediction", [p.labels for p in predictions]), ("record", [r.labels for r in records])):
        for number, values in enumerate(labels):
            if len(values) and not 0 <= values.min() <= values.max() < classes:
                raise ValueError(f"{name} {number} has labels {values.min()}..{values.max()}, but there are {classes}")


class Matches(NamedTuple):
    """What the Pascal VOC devkit makes of each of m detections.

    objects: (m,) the object of its class and picture that it overlaps most, -1 for none; overlaps: (m,) their IoUs;
    right: (m,) bool, the first to find an object; ignored: (m,) bool, it found one that is ignored. What is neither is
    a false positive.
    """

    objects: np.ndarray
    overlaps: np.ndarray
    right: np.ndarray
    ignored: np.ndarray


def match(found: Boxes, objects: Boxes, iou: float) -> Matches:
    """Hold every detection against the objects by the devkit's rules (VOCevaldet.m); see `metrics.evaluate_voc`."""
    count = len(found.labels)
    best, overlap = np.full(count, -1), np.zeros(count)
    for label in np.unique(found.labels):
        rows, ours = np.flatnonzero(found.labels == label), np.flatnonzero(objects.labels == label)
        near, overlap[rows] = best_object(
            found.boxes[rows], found.pictures[rows], objects.boxes[ours], objects.pictures[ours]
        )
        best[rows] = np.append(ours, -1)[near]
    hits = np.flatnonzero(overlap >= iou)
    hits = hits[np.argsort(-found.scores[hits], kind="stable")]
    ignored = np.zeros(count, dtype=bool)
    ignored[hits] = objects.ignored[best[hits]]
    hits = hits[~ignored[hits]]
    right = np.zeros(count, dtype=bool)
    right[hits[np.unique(best[hits], return_index=True)[1]]] = True  # of each object the hit of highest score
    return Matches(best, overlap, right, ignored)


def best_object(
    boxes: np.ndarray,
    pictures: np.ndarray,
    object_boxes: np.ndarray,
    object_pictures: np.ndarray,
    apart: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """For each of m boxes the object of its picture that it overlaps most, the first of equals.

    `object_pictures` must rise. With `apart`, the labels of the boxes and of the objects, only objects of another
    label are looked at. Returns (m,) indices into the objects, -1 for none, and the (m,) IoUs.
    """
    start = np.searchsorted(object_pictures, pictures, side="left")
    count = np.searchsorted(object_pictures, pictures, side="right") - start
    best, overlap = np.full(len(boxes), -1), np.zeros(len(boxes))
    # one round for the first object of every picture, one for the second...: as many as the fullest picture has
    for nth in range(int(count.max(initial=0))):
        rows = np.flatnonzero(count > nth)
        candidate = start[rows] + nth
        ious = box_iou(boxes[rows], object_boxes[candidate])
        if apart is not None:
            ious[apart[0][rows] == apart[1][candidate]] = 0.0
        better = ious > overlap[rows]
        best[rows[better]], overlap[rows[better]] = candidate[better], ious[better]
    return best, overlap
