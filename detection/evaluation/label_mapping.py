"""Mapping of a model's labels to a dataset's labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.errors import DatasetError
from detection.inference.prediction import Prediction


def label_map(model_names: Sequence[str], dataset_names: Sequence[str]) -> np.ndarray:
    """For each of a model's labels the data set's label of that name, -1 where it has none: (M,) int64.

    A model may know more classes than the data set, in any order.

    Raises:
        DatasetError: the data set has a class that the model does not know.
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
    """Return a prediction in the data set's labels, by a `label_map`; what the data set has no class for is dropped."""
    labels = mapping[prediction.labels]
    kept = labels >= 0
    return Prediction(prediction.boxes[kept], prediction.scores[kept], labels[kept])
