"""Label mapping between the classes of a model and of a dataset."""

import numpy as np
import pytest

from data.errors import DatasetError
from detection.evaluation.label_mapping import label_map, relabel
from detection.inference.prediction import Prediction


def test_labels_are_mapped_by_name() -> None:
    mapping = label_map(["cat", "cow", "dog"], ["dog", "cat"])
    assert mapping.tolist() == [1, -1, 0]
    prediction = Prediction(
        np.arange(12, dtype=np.float32).reshape(3, 4), np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 2, 0])
    )
    mapped = relabel(prediction, mapping)
    assert mapped.labels.tolist() == [0, 1]
    np.testing.assert_allclose(mapped.scores, [0.8, 0.7])
    np.testing.assert_array_equal(mapped.boxes[:, 0], [4, 8])


def test_a_class_that_the_model_lacks_is_named() -> None:
    with pytest.raises(DatasetError, match="not 2 of the data set's: yak, zebu"):
        label_map(["dog"], ["yak", "dog", "zebu"])
