"""The confidence from which detections are worth showing, chosen from a split's precision-recall curves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.atomic_files import atomic_path
from weights.card import CARD_NAME
from weights.store import ModelFile, find_exports

if TYPE_CHECKING:
    from detection.evaluation.voc_ap import VocResult


GRID = np.arange(1, 100) / 100
"""Confidences to choose from: finer differences do not carry over to another split."""


@dataclass(frozen=True, slots=True, eq=False)
class BestF1:
    """Where F1, the harmonic mean of precision and recall, is best.

    The F1 to choose one confidence by is the mean over classes: each counts alike, as in mAP. Pooled over all objects
    it would be that of the most frequent class (of VOC's objects, two in five are persons).

    Attributes:
        confidence: of `GRID`, the middle one of equals.
        f1: the mean F1 of the classes that have an object, at that confidence; NaN where none has.
        class_confidence: (C,) float64, each class's own best; NaN without an object.
        class_f1: (C,) float64, its F1 there; NaN likewise.
    """

    confidence: float
    f1: float
    class_confidence: np.ndarray
    class_f1: np.ndarray


def best_f1(result: VocResult) -> BestF1:
    """Choose from the curves of a measurement."""
    f1 = np.array(
        [
            class_f1(recall, scores, total)
            for (recall, _, scores), total in zip(result.curves, result.objects.tolist(), strict=True)
        ]
    ).reshape(-1, len(GRID))  # (C, 99)
    present = result.objects > 0
    mean = f1[present].mean(axis=0) if present.any() else np.full(len(GRID), np.nan)
    best = int(_middle_best(mean[None])[0])
    return BestF1(
        confidence=float(GRID[best]),
        f1=float(mean[best]),
        class_confidence=np.where(present, GRID[_middle_best(f1)], np.nan),
        class_f1=np.where(present, f1.max(axis=1), np.nan),
    )


def _middle_best(values: np.ndarray) -> np.ndarray:
    """(k, n) -> (k,) the column of each row's largest value, the middle one of equals."""
    equals = values == values.max(axis=1, keepdims=True)
    middle = (equals.sum(axis=1, keepdims=True) + 1) // 2
    first: np.ndarray = ((equals.cumsum(axis=1) == middle) & equals).argmax(axis=1)
    return first


def class_f1(recall: np.ndarray, scores: np.ndarray, objects: int) -> np.ndarray:
    """(99,) F1 of a class at each of `GRID`: 2 · right / (detections + objects).

    Args:
        recall, scores: (k,) of its curve, by falling score.
        objects: how many there are to find.
    """
    shown = np.searchsorted(-scores, -GRID, side="right")  # detections of at least that score
    right = np.append(0.0, recall * objects)[shown]
    f1: np.ndarray = 2 * right / np.maximum(shown + objects, 1)
    return f1


def write_confidence(model: ModelFile, confidence: float) -> None:
    """Write a default confidence into a model's card, and into those of the exports that lie with it."""
    for one in (model, *([] if model.export else find_exports(model))):
        card = dataclasses.replace(one.card, default_confidence=confidence)
        with atomic_path(one.path.parent / CARD_NAME) as aside:
            aside.write_text(card.to_json(), encoding="utf-8")
