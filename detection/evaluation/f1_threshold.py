"""Default confidence thresholds of a model from a split's precision-recall curves.

One threshold for all classes, at the best mean F1, and one for each class, at a stated precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.atomic_files import atomic_path
from weights.card import CARD_NAME
from weights.store import ModelFile, find_exports

if TYPE_CHECKING:
    from detection.evaluation.voc_ap import VocResult


GRID = np.arange(1, 100) / 100
"""Candidate thresholds; finer steps do not generalize to another split."""


@dataclass(frozen=True, slots=True, eq=False)
class BestF1:
    """Confidence threshold of the best F1, the harmonic mean of precision and recall.

    The threshold maximizes the mean of F1 over classes, which weights all classes equally, as mAP does. Pooled over all
    objects, the most frequent class would dominate (two in five objects of VOC are persons).

    Attributes:
        confidence: of `GRID`, the middle one of ties.
        f1: mean F1 of the classes with ground truths at that confidence; NaN without any.
        class_confidence: (C,) float64, best threshold of each class; NaN without ground truths.
        class_f1: (C,) float64, F1 of each class at it; NaN likewise.
    """

    confidence: float
    f1: float
    class_confidence: np.ndarray
    class_f1: np.ndarray


def best_f1(result: VocResult) -> BestF1:
    """Best F1 of an evaluation, from its precision-recall curves."""
    f1 = np.array(
        [
            class_f1(recall, scores, total)
            for (recall, _, scores), total in zip(result.curves, result.num_gt.tolist(), strict=True)
        ]
    ).reshape(-1, len(GRID))  # (C, 99)
    present = result.num_gt > 0
    mean = f1[present].mean(axis=0) if present.any() else np.full(len(GRID), np.nan)
    best = int(_middle_best(mean[None])[0])
    return BestF1(
        confidence=float(GRID[best]),
        f1=float(mean[best]),
        class_confidence=np.where(present, GRID[_middle_best(f1)], np.nan),
        class_f1=np.where(present, f1.max(axis=1), np.nan),
    )


def _middle_best(values: np.ndarray) -> np.ndarray:
    """(k, n) -> (k,) column of the maximum of each row, the middle one of ties."""
    equals = values == values.max(axis=1, keepdims=True)
    middle = (equals.sum(axis=1, keepdims=True) + 1) // 2
    first: np.ndarray = ((equals.cumsum(axis=1) == middle) & equals).argmax(axis=1)
    return first


def class_f1(recall: np.ndarray, scores: np.ndarray, num_gt: int) -> np.ndarray:
    """(99,) F1 of a class at each threshold of `GRID`: 2 · true positives / (predictions + ground truths).

    Args:
        recall, scores: (k,) of its curve, by descending score.
        num_gt: number of ground truths.
    """
    shown = np.searchsorted(-scores, -GRID, side="right")  # predictions of at least that score
    true_positives = np.append(0.0, recall * num_gt)[shown]
    f1: np.ndarray = 2 * true_positives / np.maximum(shown + num_gt, 1)
    return f1


def class_confidence(result: VocResult, names: Sequence[str], split: str, precision: float) -> dict[str, Any]:
    """`class_confidence` of a card: for each class the threshold of the highest recall at a precision or more.

    Of the thresholds with that recall, it is the one of the best F1, the middle one of ties. A class that reaches the
    precision at none has the threshold of its best F1. A class of which nothing is found has no entry. Empty without
    any entry.

    Args:
        result: evaluation on the split.
        names: the model's names of the classes of `result`.
        split: name of the split.
        precision: stated precision, 0 to 1.
    """
    classes = {}
    for name, curve, total in zip(names, result.curves, result.num_gt.tolist(), strict=True):
        recall, curve_precision, scores = curve
        if not total or not recall.any():
            continue
        shown = np.searchsorted(-scores, -GRID, side="right")  # predictions of at least that score
        recalls, precisions = np.append(0.0, recall)[shown], np.append(0.0, curve_precision)[shown]
        reached = (precisions >= precision) & (recalls > 0)
        allowed = reached & (recalls == recalls.max(where=reached, initial=0)) if reached.any() else recalls >= 0
        f1 = np.where(allowed, class_f1(recall, scores, total), -1)
        best = int(_middle_best(f1[None])[0])
        classes[name] = {
            "confidence": float(GRID[best]),
            "chosen_by": "precision" if reached.any() else "best F1",
            "precision": round(float(precisions[best]), 3),
            "recall": round(float(recalls[best]), 3),
        }
    return {"precision": precision, "split": split, "classes": classes} if classes else {}


def describe_thresholds(by_class: dict[str, Any]) -> str:
    """Return one line about the thresholds of the classes; it names the classes that do not reach the precision."""
    if not by_class:
        return "by class: none"
    classes = by_class["classes"]
    values = [entry["confidence"] for entry in classes.values()]
    line = f"by class {min(values):.2f} to {max(values):.2f}, at a precision of {by_class['precision']:g}"
    below = [name for name, entry in classes.items() if entry["chosen_by"] != "precision"]
    more = f" and {len(below) - 5} more" if len(below) > 5 else ""
    return f"{line} or, where it is not reached, the best F1: {', '.join(below[:5])}{more}" if below else line


def write_confidence(model: ModelFile, confidence: float, by_class: dict[str, Any]) -> None:
    """Write the default confidence and `class_confidence` into the card of a model and the cards of its exports."""
    for file in (model, *([] if model.export else find_exports(model))):
        card = dataclasses.replace(file.card, default_confidence=confidence, class_confidence=by_class)
        with atomic_path(file.path.parent / CARD_NAME) as temporary:
            temporary.write_text(card.to_json(), encoding="utf-8")
