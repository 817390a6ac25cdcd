"""Datasets are shared, not copied, with what holds them."""

import copy

from data.datasets.records import Dataset


def test_a_deep_copy_is_the_same_dataset() -> None:
    dataset = Dataset("voc", "val", ("cat",), [])
    assert copy.deepcopy({"set": dataset})["set"] is dataset
