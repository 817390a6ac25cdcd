"""Label mapping between the classes of a model and of a dataset."""

from pathlib import Path

import numpy as np
import pytest

from data.datasets.records import Dataset
from data.datasets.voc import CLASS_NAMES
from data.errors import DatasetError, SettingsError
from detection.evaluation.label_mapping import SYNONYMS, common_classes, label_map, relabel
from detection.inference.prediction import Prediction
from tests.support.dataset_records import record


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


COCO_PART = (
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "couch",
    "potted plant",
    "dining table",
    "tv",
    "kite",
)


def test_voc_and_coco_know_the_same_classes_either_way() -> None:
    there, back = common_classes(CLASS_NAMES, COCO_PART), common_classes(COCO_PART, CLASS_NAMES)
    assert {(one, other) for one, other in there.pairs if one != other} == set(SYNONYMS)
    assert set(there.pairs) == {pair[::-1] for pair in back.pairs} and len(there.pairs) == 9
    for label, name in enumerate(CLASS_NAMES):
        index = there.mapping[label]
        assert index == -1 or there.pairs[index][0] == name
    assert not there.plain and there.describe().startswith("measured on 9 classes that both know, of the model's 20")


def test_the_same_classes_in_another_order_are_plain() -> None:
    common = common_classes(["cat", "cow", "dog"], ["dog", "cat"])
    assert common.plain and common.mapping.tolist() == [1, -1, 0]


def test_a_name_of_its_own_comes_before_a_synonym() -> None:
    common = common_classes(["airplane", "aeroplane"], ["aeroplane"])
    assert common.pairs == (("aeroplane", "aeroplane"),) and common.mapping.tolist() == [-1, 0]


def test_a_dataset_keeps_its_images_and_loses_the_other_classes() -> None:
    both = record(Path("a.jpg"), [[0, 0, 5, 5], [1, 1, 9, 9], [2, 2, 8, 8]], [2, 0, 1])
    dataset = Dataset("x", "val", ("yak", "cat", "airplane"), [both, record(Path("b.jpg"), [[0, 0, 5, 5]], [0])])
    found = common_classes(["aeroplane", "cat"], dataset.class_names).restrict(dataset)
    assert found.class_names == ("cat", "airplane")
    assert [each.labels.tolist() for each in found.records] == [[1, 0], []]
    assert found.records[0].boxes.tolist() == [[0, 0, 5, 5], [2, 2, 8, 8]] and found.records[1].boxes.shape == (0, 4)


@pytest.mark.parametrize("pair", [("lorry", "truck"), ("truck", "lorry")])
def test_a_pair_may_be_given_either_way(pair: tuple[str, str]) -> None:
    assert common_classes(["dog", "lorry"], ["truck", "dog"], [pair]).mapping.tolist() == [1, 0]


def test_faulty_pairs_are_named() -> None:
    with pytest.raises(SettingsError, match="'truk' is unknown; did you mean 'truck'"):
        common_classes(["lorry"], ["truck"], [("lorry", "truk")])
    with pytest.raises(SettingsError, match="both are of one side"):
        common_classes(["lorry", "van"], ["truck"], [("lorry", "van")])
    with pytest.raises(SettingsError, match="two pairs"):
        common_classes(["lorry", "van"], ["truck"], [("lorry", "truck"), ("van", "truck")])
    with pytest.raises(DatasetError, match="none of the dataset's 1: truck"):
        common_classes(["lorry"], ["truck"])
