"""Class lists of several splits: what a training loses, what is only a note."""

from dataclasses import replace
from pathlib import Path

from data.datasets.records import Dataset
from data.inspection.check import inspect_split
from data.inspection.class_lists import compare_class_lists, excuse_absent_classes
from tests.support.dataset_records import DOG, dataset, make_image, record


def test_a_class_that_the_first_split_lacks_is_a_fault(clean: Dataset) -> None:
    val = replace(clean, split="val", class_names=("Cat", "bird"))
    found = compare_class_lists([clean, val])
    assert [(finding.kind, finding.where) for finding in found] == [("class-list", "Cat"), ("class-list", "bird")]
    assert "is it 'cat'?" in found[0].text and "?" not in found[1].text


def test_another_order_and_fewer_classes_are_notes(clean: Dataset) -> None:
    val = replace(clean, split="val", class_names=("dog", "cat"))
    few = replace(clean, split="test", class_names=("dog",))
    assert [finding.kind for finding in compare_class_lists([clean, val, few])] == ["class-order", "class-order"]
    assert compare_class_lists([clean, replace(clean, split="val")]) == []


def test_a_class_without_objects_counts_in_the_first_split_only(tmp_path: Path, clean: Dataset) -> None:
    val = dataset([record(make_image(tmp_path / "v.png", seed=5), [[0, 0, 9, 9]], [DOG])], "val")
    first, second = excuse_absent_classes([inspect_split(clean), inspect_split(val)])
    assert first.findings == [] and [finding.kind for finding in second.findings] == ["absent"]
    second, first = excuse_absent_classes([inspect_split(val), inspect_split(clean)])
    assert [finding.kind for finding in second.findings] == ["class"] and first.findings == []
