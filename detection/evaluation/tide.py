"""TIDE: detection errors by kind and their cost in AP (Bolya et al., ECCV 2020, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.datasets.records import Record
from detection.evaluation.matching import SplitBoxes, best_ground_truth, flatten_split, voc_match
from detection.evaluation.voc_ap import class_aps, precision_recall

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


ERROR_KINDS = ("loc", "cls", "both", "dupe", "bkg", "miss")
"""The error kinds of TIDE: localization, classification, both, duplicate, background and missed ground truth."""
LOC, CLS, BOTH, DUPE, BKG, MISS = range(len(ERROR_KINDS))
TRUE_POSITIVE, IGNORED = -1, -2
"""Kinds of the predictions that are no errors; the ignored ones are matched to ignored ground truths."""
KIND_TITLES = {
    "loc": "localisation",
    "cls": "class",
    "both": "class and place",
    "dupe": "duplicate",
    "bkg": "background",
    "miss": "missed",
}
"""Titles of `ERROR_KINDS` in tables and plots, and their keys in the JSON of `pelee-eval`."""
FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""Object sizes of COCO: areas in square pixels, lower bound included, upper bound excluded."""


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """Kind of every prediction of a split.

    Attributes:
        predictions, ground_truths: the m predictions and n ground truths of all images.
        kinds: (m,) int64, `TRUE_POSITIVE`, `IGNORED` or an index into `ERROR_KINDS`.
        targets: (m,) int64, the ground truth that a prediction matches, duplicates, mislocalizes or misclassifies; -1
            for none.
        classes: number of classes, C.
    """

    predictions: SplitBoxes
    ground_truths: SplitBoxes
    kinds: np.ndarray
    targets: np.ndarray
    classes: int

    @property
    def num_gt(self) -> np.ndarray:
        """(C,) number of ground truths per class that are not ignored."""
        return self.ground_truths.num_gt(self.classes)

    def detected(self, confidence: float = 0.0) -> np.ndarray:
        """(n,) bool, ground truths with a true positive of at least `confidence`."""
        return self._is_target((TRUE_POSITIVE,), confidence)

    def missed(self, confidence: float = 0.0) -> np.ndarray:
        """(n,) bool, ground truths, without ignored ones, that no prediction of at least `confidence` refers to.

        Mislocalized or misclassified ground truths are not missed: they count under "loc" or "cls".
        """
        return ~self.ground_truths.ignored & ~self._is_target((TRUE_POSITIVE, LOC, CLS), confidence)

    def _is_target(self, kinds: tuple[int, ...], confidence: float) -> np.ndarray:
        result = np.zeros(len(self.ground_truths.labels), dtype=bool)
        result[self.targets[np.isin(self.kinds, kinds) & (self.predictions.scores >= confidence)]] = True
        return result


class SizeRecall(NamedTuple):
    """Recall of the ground truths of a size: `found` at the confidence, `found_by_all` with all predictions."""

    size: str
    objects: int
    found: int
    found_by_all: int


@dataclass(frozen=True, slots=True, eq=False)
class DetectionErrors:
    """Number of errors of each kind, and the mAP gained without them.

    Attributes:
        confidence: minimum score of the counted predictions; the gains use all predictions, as AP does.
        counts: (6, C) int64, `ERROR_KINDS` in rows; false positives by predicted class, misses by the class of the
            ground truth.
        gains: (6, C) float64, `oracle_ap` of each class minus its AP; NaN for a class without ground truths. The gains
            do not add up to 1 - AP, because fixing one kind changes the others.
        sizes: recall by object size.
    """

    confidence: float
    counts: np.ndarray
    gains: np.ndarray
    sizes: tuple[SizeRecall, ...]

    @property
    def map_gains(self) -> np.ndarray:
        """(6,) float64, mean gain over the classes with ground truths; NaN without any."""
        known = ~np.isnan(self.gains).any(axis=0)
        return self.gains[:, known].mean(axis=1) if known.any() else np.full(len(ERROR_KINDS), np.nan)


def diagnose(
    predictions: Sequence[Prediction],
    records: Sequence[Record],
    class_names: Sequence[str],
    iou: float = FOREGROUND_IOU,
    background: float = BACKGROUND_IOU,
) -> Diagnosis:
    """Classify every prediction as true positive, ignored or one of the error kinds.

    True positives are those of VOC (see `voc_ap.evaluate_voc`). For a false positive, the IoU with ground truths of its
    own class is tested first: at least `iou` is a duplicate, at least `background` a localization error. Then the IoU
    with other classes: at least `iou` is a classification error, at least `background` both; else it is background.
    (Unlike here, the authors' program counts a duplicate that also overlaps another class as a classification error.)
    An ignored ground truth counts as a location, so that a prediction that half covers a difficult one is not
    background.

    Raises:
        ValueError: as `voc_ap.evaluate_voc`.
    """
    found, truths = flatten_split(predictions, records, len(class_names))
    matches = voc_match(found, truths, iou)
    own, own_iou = matches.ground_truths, matches.ious
    other, other_iou = np.full(len(own), -1), np.zeros(len(own))
    unclear = np.flatnonzero(own_iou < background)
    other[unclear], other_iou[unclear] = best_ground_truth(
        found.boxes[unclear],
        found.images[unclear],
        truths.boxes,
        truths.images,
        other_labels=(found.labels[unclear], truths.labels),
    )
    tests = [matches.true_positive, matches.ignored, own_iou >= iou, own_iou >= background, other_iou >= iou]
    kinds = np.select([*tests, other_iou >= background], [TRUE_POSITIVE, IGNORED, DUPE, LOC, CLS, BOTH], BKG)
    targets = np.select(tests, [own, own, own, own, other], -1)
    return Diagnosis(found, truths, kinds, targets, len(class_names))


def count_errors(diagnosis: Diagnosis, records: Sequence[Record], confidence: float) -> DetectionErrors:
    """Errors of a split by kind at a confidence and their cost; `records` are those of the diagnosis."""
    d = diagnosis
    counts = np.zeros((len(ERROR_KINDS), d.classes), dtype=np.int64)
    wrong = (d.kinds >= 0) & (d.predictions.scores >= confidence)
    np.add.at(counts, (d.kinds[wrong], d.predictions.labels[wrong]), 1)
    counts[MISS] = np.bincount(d.ground_truths.labels[d.missed(confidence)], minlength=d.classes)

    kept = d.kinds != IGNORED
    now = _aps(d.predictions.labels[kept], d.predictions.scores[kept], d.kinds[kept] == TRUE_POSITIVE, d.num_gt)
    gains = np.array([oracle_ap(d, kind) - now for kind in range(len(ERROR_KINDS))])

    areas = np.concatenate([np.zeros(0), *(record.areas for record in records)])
    sizes = []
    for name, (low, high) in SIZES.items():
        of_size = ~d.ground_truths.ignored & (areas >= low) & (areas < high)
        hits = (int((of_size & d.detected(least)).sum()) for least in (confidence, 0.0))
        sizes.append(SizeRecall(name, int(of_size.sum()), *hits))
    return DetectionErrors(confidence, counts, gains, tuple(sizes))


def oracle_ap(diagnosis: Diagnosis, kind: int) -> np.ndarray:
    """(C,) float64, all-point APs with all errors of a kind fixed by the oracles of the paper (section 2.3).

    A localization or classification error becomes a true positive of its ground truth, unless that is detected already;
    of several for one ground truth, the one of highest score is kept and the others are removed, as are false positives
    of the other kinds. Missed ground truths are removed from the count. Ignored ground truths have no effect.
    """
    d = diagnosis
    true_positive, kept = d.kinds == TRUE_POSITIVE, ~np.isin(d.kinds, (IGNORED, kind))
    labels, num_gt = d.predictions.labels, d.num_gt
    if kind == MISS:
        num_gt = num_gt - np.bincount(d.ground_truths.labels[d.missed()], minlength=d.classes)
    elif kind in (LOC, CLS):
        rows = np.flatnonzero(d.kinds == kind)
        rows = rows[~(d.ground_truths.ignored | d.detected())[d.targets[rows]]]
        rows = rows[np.argsort(-d.predictions.scores[rows], kind="stable")]
        rows = rows[np.unique(d.targets[rows], return_index=True)[1]]
        true_positive[rows] = kept[rows] = True
        labels = labels.copy()
        labels[rows] = d.ground_truths.labels[d.targets[rows]]
    aps = _aps(labels[kept], d.predictions.scores[kept], true_positive[kept], num_gt)
    # If all ground truths of a class are missed, none remain: the oracle then gains nothing (AP 0, not NaN).
    return np.where((num_gt == 0) & (d.num_gt > 0), 0.0, aps)


def _aps(labels: np.ndarray, scores: np.ndarray, true_positive: np.ndarray, num_gt: np.ndarray) -> np.ndarray:
    return class_aps(precision_recall(labels, scores, true_positive, num_gt), num_gt, "all-point")
