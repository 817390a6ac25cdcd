"""Mapping of a model's labels to a dataset's labels, and the classes that a model and a dataset have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.datasets.records import Dataset, Record
from data.errors import DatasetError, SettingsError, did_you_mean
from detection.inference.prediction import Prediction

#: Names of one class in VOC and in COCO.
SYNONYMS = (
    ("aeroplane", "airplane"),
    ("motorbike", "motorcycle"),
    ("sofa", "couch"),
    ("pottedplant", "potted plant"),
    ("diningtable", "dining table"),
    ("tvmonitor", "tv"),
)


@dataclass(frozen=True, slots=True, eq=False)
class CommonClasses:
    """The classes that a model and a dataset have in common.

    Attributes:
        pairs: (name in the model, name in the dataset) of each common class, in the order of the dataset.
        model_count: number of the model's classes.
        dataset_count: number of the dataset's classes.
        dataset_labels: (C,) int64, the dataset's label of each common class.
        mapping: (M,) int64, the common class of each label of the model; -1 for none.
    """

    pairs: tuple[tuple[str, str], ...]
    model_count: int
    dataset_count: int
    dataset_labels: np.ndarray
    mapping: np.ndarray

    @property
    def plain(self) -> bool:
        """Whether all classes of the dataset are common, by their own names."""
        return len(self.pairs) == self.dataset_count and all(own == other for own, other in self.pairs)

    def describe(self) -> str:
        """Return the line that says which classes are measured."""
        renamed = [f"{own} = {other}" for own, other in self.pairs if own != other]
        line = (
            f"measured on {len(self.pairs)} classes that both know, of the model's {self.model_count} and the "
            f"dataset's {self.dataset_count}"
        )
        return f"{line} ({', '.join(renamed)})" if renamed else line

    def to_json(self) -> dict[str, Any]:
        """Return {"model": count, "dataset": count, "common": [{"model": name, "dataset": name}, ...]}."""
        common = [{"model": own, "dataset": other} for own, other in self.pairs]
        return {"model": self.model_count, "dataset": self.dataset_count, "common": common}

    def restrict(self, dataset: Dataset) -> Dataset:
        """Return the dataset with the common classes only; every image stays, so that false positives count there."""
        if len(self.pairs) == self.dataset_count:
            return dataset
        new = np.full(self.dataset_count, -1, dtype=np.int64)
        new[self.dataset_labels] = np.arange(len(self.dataset_labels))
        names = tuple(other for _, other in self.pairs)
        return replace(dataset, class_names=names, records=[_restricted(record, new) for record in dataset.records])


def common_classes(
    model_names: Sequence[str], dataset_names: Sequence[str], extra: Sequence[tuple[str, str]] = ()
) -> CommonClasses:
    """Find the classes that a model and a dataset have in common: by `extra`, then by name, then by `SYNONYMS`.

    Args:
        model_names: class names of the model, by label.
        dataset_names: class names of the dataset, by label.
        extra: more pairs (name in the model, name in the dataset), or the other way round.

    Raises:
        DatasetError: no class in common.
        SettingsError: a pair of `extra` that is not of a class of the model and one of the dataset, or one class of
            them in two pairs.
    """
    by_name = {name: label for label, name in enumerate(model_names)}
    chosen = _extra_pairs(by_name, dataset_names, extra)
    other_names = {one: other for pair in SYNONYMS for one, other in (pair, pair[::-1])}
    taken = set(chosen.values())
    pairs: list[tuple[str, str]] = []
    labels: list[int] = []
    mapping = np.full(len(model_names), -1, dtype=np.int64)
    for label, name in enumerate(dataset_names):
        candidates = [chosen[name]] if name in chosen else [name, other_names.get(name, name)]
        own = next((each for each in candidates if each in by_name and (name in chosen or each not in taken)), None)
        if own is not None:
            mapping[by_name[own]] = len(pairs)
            pairs.append((own, name))
            labels.append(label)
            taken.add(own)
    if not pairs:
        raise DatasetError(
            f"the model knows {len(model_names)} classes, and none of the dataset's {len(dataset_names)}: "
            f"{', '.join(dataset_names[:10])}{', ...' if len(dataset_names) > 10 else ''}; measure it on data of its "
            "own classes, or give --map MODEL-CLASS=DATASET-CLASS"
        )
    return CommonClasses(tuple(pairs), len(model_names), len(dataset_names), np.array(labels, dtype=np.int64), mapping)


def _extra_pairs(
    by_name: dict[str, int], dataset_names: Sequence[str], extra: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """Return the model's class by the dataset's class."""
    chosen: dict[str, str] = {}
    for one, other in extra:
        own, name = (one, other) if one in by_name and other in dataset_names else (other, one)
        if own not in by_name or name not in dataset_names:
            known = {*by_name, *dataset_names}
            unknown = next((each for each in (one, other) if each not in known), None)
            found = "both are of one side" if unknown is None else f"{unknown!r} is unknown"
            hint = "" if unknown is None else did_you_mean(unknown, sorted(known))
            raise SettingsError(
                f"--map {one}={other}: expected a class of the model and one of the dataset; {found}"
                f"{'; ' + hint if hint else ''}"
            )
        if name in chosen or own in chosen.values():
            raise SettingsError(f"--map {one}={other}: a class is in two pairs; expected each once")
        chosen[name] = own
    return chosen


def _restricted(record: Record, new: np.ndarray) -> Record:
    labels = new[record.labels]
    kept = labels >= 0
    fields = {name: getattr(record, name)[kept] for name in ("boxes", "difficult", "crowd", "areas")}
    return replace(record, labels=labels[kept], **fields)


def label_map(model_names: Sequence[str], dataset_names: Sequence[str]) -> np.ndarray:
    """Label mapping from a model to a dataset by class name: (M,) int64, -1 where the dataset lacks the class.

    The model may have more classes than the dataset, in any order.

    Raises:
        DatasetError: the dataset has a class that the model lacks.
    """
    missing = [name for name in dataset_names if name not in set(model_names)]
    if missing:
        raise DatasetError(
            f"the model knows {len(model_names)} classes, but not {len(missing)} of the data set's: "
            f"{', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}; measure it on data of its own classes"
        )
    labels = {name: label for label, name in enumerate(dataset_names)}
    return np.array([labels.get(name, -1) for name in model_names], dtype=np.int64)


def relabel(prediction: Prediction, mapping: np.ndarray) -> Prediction:
    """Prediction with the labels of the dataset, by a `label_map`; predictions of other classes are dropped."""
    labels = mapping[prediction.labels]
    kept = labels >= 0
    return Prediction(prediction.boxes[kept], prediction.scores[kept], labels[kept])
