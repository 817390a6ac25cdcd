"""Measuring a classifier on a data set: how often it is right, where it is wrong, and what its scores are worth."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data.errors import DatasetError
from data.progress_bar import progress_bar

if TYPE_CHECKING:
    from data.classification.image_folder import ImageFolderDataset
    from pelee.classification.classifier import Classifier
    from weights.card import Card


BINS = 15  # of the calibration error, as Guo et al., "On Calibration of Modern Neural Networks" (2017), have them
MISTAKES_KEPT = 100


class Mistake(NamedTuple):
    """A picture that was taken for something else: its file, both class ids, the score (0 to 1) of each."""

    file: Path
    label: int
    said: int
    score: float
    label_score: float


class TopKResult(NamedTuple):
    """What is kept of N pictures' probabilities; all are (N,).

    Attributes:
        said: int64, the most probable class; the lower id of two that are equal.
        score: float32, its probability.
        rank: int64, how many classes come before the true one: 0 is right, less than 5 is right by top-5.
        label_score: float32, the true class's probability.
    """

    said: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    label_score: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierEvaluation:
    """What was measured, and on what.

    Attributes:
        dataset, split: names of the data set and of its part.
        class_names: C names in the order of the class ids.
        labels: (N,) int64, true class ids of the pictures that were read.
        results: N each.
        files: N, the pictures.
        unreadable: a line for each picture that could not be read and counts nowhere.
        seconds: wall clock of reading and classifying.
    """

    dataset: str
    split: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    results: TopKResult
    files: Sequence[Path]
    unreadable: tuple[str, ...]
    seconds: float

    @property
    def top1(self) -> float:
        """Share of the pictures that are right, 0 to 1."""
        return float((self.results.rank == 0).mean())

    @property
    def top5(self) -> float:
        """Share of the pictures whose class is among the best five; NaN where there are no more than five."""
        return float((self.results.rank < 5).mean()) if len(self.class_names) > 5 else math.nan

    @property
    def counts(self) -> np.ndarray:
        """Pictures of each class: (C,) int64."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def top_k_by_class(self, k: int) -> np.ndarray:
        """Share of each class's pictures whose rank is below k: (C,) float64, NaN where the class has no picture."""
        hits = np.bincount(self.labels[self.results.rank < k], minlength=len(self.class_names))
        counts = self.counts
        return np.divide(hits, counts, out=np.full(len(counts), math.nan), where=counts > 0)

    @property
    def confusion(self) -> np.ndarray:
        """Pictures by true class (rows) and by what was said (columns): (C, C) int64."""
        size = len(self.class_names)
        return np.bincount(self.labels * size + self.results.said, minlength=size * size).reshape(size, size)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 0 to 1: how far, on average, a score is from the share that is right at it.

        Guo et al. (2017), equation 3, over `BINS` bins of equal width.
        """
        bins = np.minimum((self.results.score * BINS).astype(np.int64), BINS - 1)
        gaps = (self.results.rank == 0) - self.results.score.astype(np.float64)
        return float(np.abs(np.bincount(bins, weights=gaps, minlength=BINS)).sum() / len(bins))

    @property
    def mistakes(self) -> list[Mistake]:
        """The most confident mistakes, at most `MISTAKES_KEPT`, the most confident first."""
        results = self.results
        wrong = np.flatnonzero(results.rank > 0)
        order = wrong[np.argsort(-results.score[wrong], kind="stable")][:MISTAKES_KEPT]
        return [
            Mistake(
                self.files[index],
                int(self.labels[index]),
                int(results.said[index]),
                float(results.score[index]),
                float(results.label_score[index]),
            )
            for index in order
        ]

    def worst_classes(self, count: int) -> list[int]:
        """Ids of the classes with the lowest top-1, the lowest first; those without a picture are left out."""
        accuracies = self.top_k_by_class(1)
        present = np.flatnonzero(~np.isnan(accuracies))
        return [int(label) for label in present[np.argsort(accuracies[present], kind="stable")][:count]]

    def to_json(self, model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return everything as plain JSON values; what is not defined (NaN) is null.

        `model` says what was measured ({"name", "sha256"}) and `settings` how it ran; both go in as they are::

            {"model": {...}, "settings": {...}, "dataset": str, "split": str, "pictures": int, "top1": 0..1,
             "top5": 0..1, "calibration_error": 0..1,
             "classes": [{"name", "pictures", "top1", "top5", "taken_for": [{"name", "pictures"}, ...]}, ...],
             "confusion_matrix": C rows (true class) of C counts (said class),
             "mistakes": [{"file", "label", "said", "score", "label_score"}, ...], most confident first,
             "unreadable": [str, ...], "seconds": float}
        """
        names, confusion = self.class_names, self.confusion
        top1, top5 = self.top_k_by_class(1), self.top_k_by_class(5)
        has_top5 = len(names) > 5
        return {
            "model": dict(model),
            "settings": dict(settings),
            "dataset": self.dataset,
            "split": self.split,
            "pictures": len(self.labels),
            "top1": self.top1,
            "top5": _number(self.top5),
            "calibration_error": self.calibration_error,
            "classes": [
                {
                    "name": name,
                    "pictures": int(count),
                    "top1": _number(top1[label]),
                    "top5": _number(top5[label]) if has_top5 else None,
                    "taken_for": [
                        {"name": names[other], "pictures": times}
                        for other, times in most_frequent(confusion[label], label, 3)
                    ],
                }
                for label, (name, count) in enumerate(zip(names, self.counts, strict=True))
            ],
            "confusion_matrix": confusion.tolist(),
            "mistakes": [
                {
                    "file": str(mistake.file),
                    "label": names[mistake.label],
                    "said": names[mistake.said],
                    "score": round(mistake.score, 4),
                    "label_score": round(mistake.label_score, 4),
                }
                for mistake in self.mistakes
            ],
            "unreadable": list(self.unreadable),
            "seconds": round(self.seconds, 3),
        }


def score(probabilities: np.ndarray, labels: np.ndarray) -> TopKResult:
    """Reduce probabilities (N, C) to what is measured, given the true class ids (N,) int64."""
    rows = np.arange(len(labels))
    said = probabilities.argmax(axis=1)
    own = probabilities[rows, labels]
    before = (probabilities > own[:, None]).sum(axis=1)
    # of two equal ones the lower id comes first, as in `Classification.top`
    ties = (probabilities == own[:, None]) & (np.arange(probabilities.shape[1]) < labels[:, None])
    return TopKResult(said, probabilities[rows, said], before + ties.sum(axis=1), own)


def most_frequent(counts: np.ndarray, but: int, number: int) -> list[tuple[int, int]]:
    """The `number` indices with the largest counts (C,), as (index, count), without zeros and without `but`."""
    order = [int(index) for index in np.argsort(-counts, kind="stable") if index != but and counts[index] > 0]
    return [(index, int(counts[index])) for index in order[:number]]


def open_as_trained(card: Card, kind: str, root: Path, split: str) -> ImageFolderDataset:
    """A split as a model's training looked at it: cars by their boxes where it did, all other pictures whole.

    Args:
        card: the model's.
        kind: one of `data.classification.layouts.LAYOUTS`; root, split: see `data.classification.image_folder.open_image_folder`, also for the errors.
    """
    from data.classification.image_folder import open_image_folder
    from data.classification.object_crop import ObjectCrop

    return open_image_folder(kind, root, split, ObjectCrop.of(card.training["settings"]) if kind == "cars" else None)


def evaluate(
    classifier: Classifier, pictures: ImageFolderDataset, *, batch: int = 64, workers: int = 4, progress: bool = True
) -> ClassifierEvaluation:
    """Classify every picture of a split and measure; one that cannot be read is left out and named.

    Args:
        classifier: of the data set's classes, by name and order.
        pictures: the split.
        batch: pictures at a time.
        workers: threads that read pictures ahead.
        progress: a bar on stderr, where that is a terminal.

    Raises:
        DatasetError: the classes do not fit, there is no picture, or not one could be read.
        SettingsError: a batch of no pictures, no workers.
    """
    check_classes(classifier.class_names, pictures.class_names)
    if not len(pictures.files):
        raise DatasetError(f"{pictures.name} {pictures.split} has no pictures, nothing to measure")
    parts: list[TopKResult] = []
    read: list[int] = []
    unreadable: list[str] = []
    started = time.perf_counter()
    with progress_bar("evaluating", len(pictures.files), shown=progress) as advance:
        for part in classifier.stream(pictures.files, batch=batch, workers=workers, read=pictures.read):
            parts.append(score(part.probabilities, pictures.labels[part.indices]))
            read += part.indices
            unreadable += [str(error) for _, error in part.errors]
            advance(len(part.indices) + len(part.errors))
    if not read:
        raise DatasetError(f"none of {len(unreadable)} pictures could be read; the first: {unreadable[0]}")
    return ClassifierEvaluation(
        dataset=pictures.name,
        split=pictures.split,
        class_names=tuple(pictures.class_names),
        labels=pictures.labels[read],
        results=TopKResult(*(np.concatenate(column) for column in zip(*parts, strict=True))),
        files=[pictures.files[index] for index in read],
        unreadable=tuple(unreadable),
        seconds=time.perf_counter() - started,
    )


def check_classes(model_names: Sequence[str], dataset_names: Sequence[str]) -> None:
    """Raise `DatasetError` unless a model's classes are a data set's, by name and order."""
    ours, theirs = list(model_names), list(dataset_names)
    if ours == theirs:
        return
    if len(ours) != len(theirs):
        found = f"the model knows {len(ours)} classes, the data set has {len(theirs)}"
    elif sorted(ours) == sorted(theirs):
        found = "the model has the data set's classes in another order"
    else:
        found = "the model knows other classes than the data set has"
    first = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    where = "" if first is None else f" (class {first} is {ours[first]!r} there and {theirs[first]!r} here)"
    raise DatasetError(f"{found}{where}; measure it on data of its own classes")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
