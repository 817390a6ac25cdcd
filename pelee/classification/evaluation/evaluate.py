"""Evaluation of a classifier on a dataset: top-1 and top-5 accuracy, confusions, calibration error, mistakes."""

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


BINS = 15  # of the calibration error, as in Guo et al., "On Calibration of Modern Neural Networks" (2017)
MISTAKES_KEPT = 100


class Mistake(NamedTuple):
    """A misclassified image: its file, true and predicted class id, and their scores, 0 to 1."""

    file: Path
    label: int
    predicted: int
    score: float
    label_score: float


class TopKResult(NamedTuple):
    """Predictions for N images, reduced to the columns that the metrics need; all are (N,).

    Attributes:
        predicted: int64, the most probable class; the lower id of two with equal probability.
        score: float32, its probability.
        rank: int64, the number of classes ranked before the true one: 0 is correct, below 5 is correct by top-5.
        label_score: float32, the true class's probability.
    """

    predicted: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    label_score: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierEvaluation:
    """Result of an evaluation.

    Attributes:
        dataset, split: names of the dataset and of the split.
        class_names: C names in the order of the class ids.
        labels: (N,) int64, true class ids of the images that were read.
        results: columns of N values.
        files: N, the images.
        unreadable: one line for each image that could not be read; these count nowhere.
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
        """Top-1 accuracy, 0 to 1."""
        return float((self.results.rank == 0).mean())

    @property
    def top5(self) -> float:
        """Top-5 accuracy, 0 to 1; NaN where there are no more than five classes."""
        return float((self.results.rank < 5).mean()) if len(self.class_names) > 5 else math.nan

    @property
    def counts(self) -> np.ndarray:
        """Number of images of each class: (C,) int64."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def top_k_by_class(self, k: int) -> np.ndarray:
        """Top-k accuracy of each class, 0 to 1: (C,) float64, NaN where the class has no image."""
        hits = np.bincount(self.labels[self.results.rank < k], minlength=len(self.class_names))
        counts = self.counts
        return np.divide(hits, counts, out=np.full(len(counts), math.nan), where=counts > 0)

    @property
    def confusion(self) -> np.ndarray:
        """Confusion matrix: number of images by true class (rows) and predicted class (columns), (C, C) int64."""
        size = len(self.class_names)
        return np.bincount(self.labels * size + self.results.predicted, minlength=size * size).reshape(size, size)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 0 to 1: the mean difference between a score and the accuracy at that score.

        Guo et al. (2017), equation 3, over `BINS` bins of equal width.
        """
        bins = np.minimum((self.results.score * BINS).astype(np.int64), BINS - 1)
        gaps = (self.results.rank == 0) - self.results.score.astype(np.float64)
        return float(np.abs(np.bincount(bins, weights=gaps, minlength=BINS)).sum() / len(bins))

    @property
    def mistakes(self) -> list[Mistake]:
        """The most confident mistakes by descending score, at most `MISTAKES_KEPT`."""
        results = self.results
        wrong = np.flatnonzero(results.rank > 0)
        order = wrong[np.argsort(-results.score[wrong], kind="stable")][:MISTAKES_KEPT]
        return [
            Mistake(
                self.files[index],
                int(self.labels[index]),
                int(results.predicted[index]),
                float(results.score[index]),
                float(results.label_score[index]),
            )
            for index in order
        ]

    def worst_classes(self, count: int) -> list[int]:
        """Ids of the classes with the lowest top-1, in ascending order; classes without an image are skipped."""
        accuracies = self.top_k_by_class(1)
        present = np.flatnonzero(~np.isnan(accuracies))
        return [int(label) for label in present[np.argsort(accuracies[present], kind="stable")][:count]]

    def to_json(self, model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """All results as plain JSON values; undefined values (NaN) are null.

        `model` ({"name", "sha256"}) and `settings` (runtime, input size, ...) are included unchanged::

            {"model": {...}, "settings": {...}, "dataset": str, "split": str, "pictures": int, "top1": 0..1,
             "top5": 0..1, "calibration_error": 0..1,
             "classes": [{"name", "pictures", "top1", "top5", "taken_for": [{"name", "pictures"}, ...]}, ...],
             "confusion_matrix": C rows (true class) of C counts (predicted class),
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
                    "said": names[mistake.predicted],
                    "score": round(mistake.score, 4),
                    "label_score": round(mistake.label_score, 4),
                }
                for mistake in self.mistakes
            ],
            "unreadable": list(self.unreadable),
            "seconds": round(self.seconds, 3),
        }


def score(probabilities: np.ndarray, labels: np.ndarray) -> TopKResult:
    """Reduce probabilities (N, C) to a `TopKResult`, given the true class ids (N,) int64."""
    rows = np.arange(len(labels))
    predicted = probabilities.argmax(axis=1)
    own = probabilities[rows, labels]
    before = (probabilities > own[:, None]).sum(axis=1)
    # the lower id of two with equal probability comes first, as in `Classification.top`
    ties = (probabilities == own[:, None]) & (np.arange(probabilities.shape[1]) < labels[:, None])
    return TopKResult(predicted, probabilities[rows, predicted], before + ties.sum(axis=1), own)


def most_frequent(counts: np.ndarray, but: int, number: int) -> list[tuple[int, int]]:
    """The `number` largest of the counts (C,) as (index, count) pairs, without zeros and without the index `but`."""
    order = [int(index) for index in np.argsort(-counts, kind="stable") if index != but and counts[index] > 0]
    return [(index, int(counts[index])) for index in order[:number]]


def open_as_trained(card: Card, kind: str, root: Path, split: str) -> ImageFolderDataset:
    """Open a split with the object crop that the model was trained with: Stanford Cars by their boxes, or whole.

    Args:
        card: the model's.
        kind: one of `data.classification.layouts.LAYOUTS`.
        root, split: see `data.classification.image_folder.open_image_folder`, for the errors as well.
    """
    from data.classification.image_folder import open_image_folder
    from data.classification.object_crop import ObjectCrop

    return open_image_folder(kind, root, split, ObjectCrop.of(card.training["settings"]) if kind == "cars" else None)


def evaluate(
    classifier: Classifier, images: ImageFolderDataset, *, batch: int = 64, workers: int = 4, progress: bool = True
) -> ClassifierEvaluation:
    """Classify every image of a split and measure; images that cannot be read are skipped and listed.

    Args:
        classifier: its classes must be the dataset's, by name and order.
        images: the split.
        batch: images per batch.
        workers: threads that prefetch images.
        progress: show a progress bar on stderr, where that is a terminal.

    Raises:
        DatasetError: the classes do not fit, there is no image, or none could be read.
        SettingsError: a batch size or a number of workers below 1.
    """
    check_classes(classifier.class_names, images.class_names)
    if not len(images.files):
        raise DatasetError(f"{images.name} {images.split} has no images, nothing to measure")
    parts: list[TopKResult] = []
    read: list[int] = []
    unreadable: list[str] = []
    started = time.perf_counter()
    with progress_bar("evaluating", len(images.files), shown=progress) as advance:
        for part in classifier.stream(images.files, batch=batch, workers=workers, read=images.read):
            parts.append(score(part.probabilities, images.labels[part.indices]))
            read += part.indices
            unreadable += [str(error) for _, error in part.errors]
            advance(len(part.indices) + len(part.errors))
    if not read:
        raise DatasetError(f"none of {len(unreadable)} images could be read; the first: {unreadable[0]}")
    return ClassifierEvaluation(
        dataset=images.name,
        split=images.split,
        class_names=tuple(images.class_names),
        labels=images.labels[read],
        results=TopKResult(*(np.concatenate(column) for column in zip(*parts, strict=True))),
        files=[images.files[index] for index in read],
        unreadable=tuple(unreadable),
        seconds=time.perf_counter() - started,
    )


def check_classes(model_names: Sequence[str], dataset_names: Sequence[str]) -> None:
    """Raise `DatasetError` unless the model's classes are the dataset's, by name and order."""
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
