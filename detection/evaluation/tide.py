"""What a detector gets wrong, by kind, and what each kind costs: TIDE (Bolya et al., ECCV 2020, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.datasets.records import Record
from detection.evaluation.matching import Boxes, best_object, gather, match
from detection.evaluation.voc_ap import class_aps, precision_recall

if TYPE_CHECKING:
    from detection.inference.prediction import Prediction


KINDS = ("localisation", "class", "class and place", "duplicate", "background", "missed")
LOCALISATION, CLASS, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(KINDS))
RIGHT, IGNORED = -1, -2
"""What a detection is that is none of the `KINDS` of false positives; the ignored are those of ignored objects."""
FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""COCO's sizes of objects: areas in square pixels, from the first on and below the second."""


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """Every detection of a split with what it is.

    Attributes:
        found, objects: the m detections and the n objects of all pictures.
        kinds: (m,) int64, `RIGHT`, `IGNORED` or an index into `KINDS`.
        concerned: (m,) int64, the object that a detection found, found again, half found or misnamed; -1 for none.
        classes: how many there are, C.
    """

    found: Boxes
    objects: Boxes
    kinds: np.ndarray
    concerned: np.ndarray
    classes: int

    def hit(self, confidence: float = 0.0) -> np.ndarray:
        """(n,) bool, the objects that detections of at least `confidence` find."""
        return self._touched((RIGHT,), confidence)

    def missed(self, confidence: float = 0.0) -> np.ndarray:
        """(n,) bool, the objects, ignored ones left out, that no detection of at least `confidence` came near.

        Those half found or misnamed are counted by that error, not as missed.
        """
        return ~self.objects.ignored & ~self._touched((RIGHT, LOCALISATION, CLASS), confidence)

    def _touched(self, kinds: tuple[int, ...], confidence: float) -> np.ndarray:
        touched = np.zeros(len(self.objects.labels), dtype=bool)
        touched[self.concerned[np.isin(self.kinds, kinds) & (self.found.scores >= confidence)]] = True
        return touched


class SizeRecall(NamedTuple):
    """Of the objects of a size, how many detections find: those of some confidence, and all."""

    size: str
    objects: int
    found: int
    found_by_all: int


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """How many errors of each kind there are, and what mAP would gain without them.

    Attributes:
        confidence: the least score of the detections that are counted; the gains take every detection, as AP does.
        counts: (6, C) int64, `KINDS` in rows; a false positive goes to the class that was said, a miss to the object's.
        gains: (6, C) float64, all-point AP of each class with that kind mended, less what it is; NaN for a class
            without an object. They do not add up to what is missing: mending one kind changes the others.
        sizes: recall by the objects' size.
    """

    confidence: float
    counts: np.ndarray
    gains: np.ndarray
    sizes: tuple[SizeRecall, ...]

    @property
    def map_gains(self) -> np.ndarray:
        """(6,) float64, the mean of the gains over the classes that have an object; NaN where none has."""
        known = ~np.isnan(self.gains).any(axis=0)
        return self.gains[:, known].mean(axis=1) if known.any() else np.full(len(KINDS), np.nan)


def diagnose(
    predictions: Sequence[Prediction],
    records: Sequence[Record],
    class_names: Sequence[str],
    iou: float = FOREGROUND_IOU,
    background: float = BACKGROUND_IOU,
) -> Diagnosis:
    """Say of every detection whether it is right, and what is wrong with it if it is not.

    Right are VOC's true positives (see `metrics.evaluate_voc`). Of a false positive the overlaps with the objects of
    its own class come first: at least `iou` makes it a duplicate, at least `background` an error of localisation. Then
    those with other classes: at least `iou`, an error of class; at least `background`, of both; else it is background.
    (The authors' program puts a duplicate that overlaps another class's object, too, under class.) An ignored object
    counts as a place, so that what half covers a difficult one is no background.

    Raises:
        ValueError: as `metrics.evaluate_voc`.
    """
    found, objects = gather(predictions, records, len(class_names))
    matches = match(found, objects, iou)
    own, own_iou = matches.objects, matches.overlaps
    other, other_iou = np.full(len(own), -1), np.zeros(len(own))
    unclear = np.flatnonzero(own_iou < background)
    other[unclear], other_iou[unclear] = best_object(
        found.boxes[unclear],
        found.pictures[unclear],
        objects.boxes,
        objects.pictures,
        apart=(found.labels[unclear], objects.labels),
    )
    tests = [matches.right, matches.ignored, own_iou >= iou, own_iou >= background, other_iou >= iou]
    kinds = np.select(
        [*tests, other_iou >= background], [RIGHT, IGNORED, DUPLICATE, LOCALISATION, CLASS, BOTH], BACKGROUND
    )
    concerned = np.select(tests, [own, own, own, own, other], -1)
    return Diagnosis(found, objects, kinds, concerned, len(class_names))


def count_errors(diagnosis: Diagnosis, records: Sequence[Record], confidence: float) -> Errors:
    """Count a split's errors at a confidence, and what each kind costs; the records are those of the diagnosis."""
    d = diagnosis
    counts = np.zeros((len(KINDS), d.classes), dtype=np.int64)
    wrong = (d.kinds >= 0) & (d.found.scores >= confidence)
    np.add.at(counts, (d.kinds[wrong], d.found.labels[wrong]), 1)
    counts[MISSED] = np.bincount(d.objects.labels[d.missed(confidence)], minlength=d.classes)

    kept = d.kinds != IGNORED
    now = _aps(d.found.labels[kept], d.found.scores[kept], d.kinds[kept] == RIGHT, _counted(d))
    gains = np.array([mended(d, kind) - now for kind in range(len(KINDS))])

    areas = np.concatenate([np.zeros(0), *(record.areas for record in records)])
    sizes = []
    for name, (low, high) in SIZES.items():
        ours = ~d.objects.ignored & (areas >= low) & (areas < high)
        hits = (int((ours & d.hit(least)).sum()) for least in (confidence, 0.0))
        sizes.append(SizeRecall(name, int(ours.sum()), *hits))
    return Errors(confidence, counts, gains, tuple(sizes))


def mended(diagnosis: Diagnosis, kind: int) -> np.ndarray:
    """(C,) float64, the all-point APs if there were no error of a kind, by the paper's oracles (section 2.3).

    A detection of the wrong place or class finds the object that it meant, unless another finds that already; of
    several for one object the best does, and the others go, as false positives of the other kinds all do. Missed
    objects are asked for no longer. An object that is ignored is found without effect.
    """
    d = diagnosis
    right, kept, labels, counted = d.kinds == RIGHT, ~np.isin(d.kinds, (IGNORED, kind)), d.found.labels, _counted(d)
    if kind == MISSED:
        counted = counted - np.bincount(d.objects.labels[d.missed()], minlength=d.classes)
    elif kind in (LOCALISATION, CLASS):
        rows = np.flatnonzero(d.kinds == kind)
        rows = rows[~(d.objects.ignored | d.hit())[d.concerned[rows]]]
        rows = rows[np.argsort(-d.found.scores[rows], kind="stable")]
        rows = rows[np.unique(d.concerned[rows], return_index=True)[1]]
        right[rows] = kept[rows] = True
        labels = labels.copy()
        labels[rows] = d.objects.labels[d.concerned[rows]]
    aps = _aps(labels[kept], d.found.scores[kept], right[kept], counted)
    # A class of which all objects are missed is left without one to find: what it has not, that does not mend.
    return np.where((counted == 0) & (_counted(d) > 0), 0.0, aps)


def _aps(labels: np.ndarray, scores: np.ndarray, right: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return class_aps(precision_recall(labels, scores, right, counted), counted, "all-point")


def _counted(diagnosis: Diagnosis) -> np.ndarray:
    """(C,) objects that are asked for."""
    objects = diagnosis.objects
    return np.bincount(objects.labels[~objects.ignored], minlength=diagnosis.classes)
