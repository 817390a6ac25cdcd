"""Mapping of a model's labels to a dataset's labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.errors import DatasetError
from detection.inference.prediction import Prediction


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
