"""Matching of class names by name, and relabeling of a split to another list of classes."""

from pathlib import Path

import pytest

from data.datasets.class_names import align_classes, class_name_faults, match_classes, similar_names
from tests.support.dataset_records import CAT, DOG, dataset, record


def test_another_order_is_matched_by_name() -> None:
    match = match_classes(["blue", "red", "green"], ["red", "blue", "Black"])
    assert match.old_labels == (1, 0, -1)
    assert (match.matched, match.added, match.dropped) == (("blue", "red"), ("green",), ("Black",))
    assert not match.same_order and match.differing_case == ()
    assert match.lines() == [
        "classes of the dataset and the model are matched by name: 2 in both (blue, red)",
        "1 of the dataset only (green)",
        "1 of the model only (Black)",
    ]


def test_equal_lists_need_no_words() -> None:
    match = match_classes(["a", "b"], ["a", "b"])
    assert match.same_order and match.lines() == []


def test_a_differing_case_is_a_question() -> None:
    match = match_classes(["Red ", "blue"], ["red", "blue"])
    assert match.old_labels == (-1, 1) and match.differing_case == (("Red ", "red"),)
    assert match.lines("val", "train")[-1].endswith("If so, write both alike")
    assert similar_names(["Red", "blue", "red"]) == [("Red", "red")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["red", "blue"], []),
        (["red", "", " "], ["label 1 has an empty name", "label 2 has an empty name"]),
        (["red", "blue", "red"], ["'red' comes 2 times (labels 0, 2)"]),
    ],
)
def test_faults_of_names(names: list[str], expected: list[str]) -> None:
    faults = class_name_faults(names)
    assert len(faults) == len(expected)
    assert all(part in fault for part, fault in zip(expected, faults, strict=True))


def test_a_split_is_aligned_by_name() -> None:
    first = record(Path("a.png"), [[0, 0, 9, 9], [1, 1, 5, 5]], [CAT, DOG])
    empty = record(Path("b.png"), [], [])
    val = dataset([first, empty], "val")
    aligned = align_classes(val, ["dog", "bird", "Cat"])
    assert aligned.class_names == ("dog", "bird", "Cat")
    assert aligned.records[0].labels.tolist() == [0] and aligned.records[0].boxes.tolist() == [[1, 1, 5, 5]]
    assert aligned.records[1] is empty, "unchanged records are no copies"
    (warning,) = aligned.warnings
    assert "1 of class 'cat' in val" in warning
    assert align_classes(val, ["cat", "dog"]) is val
    assert first.labels.tolist() == [CAT, DOG], "the original is unchanged"


def test_a_validation_split_may_lack_a_class() -> None:
    val = dataset([record(Path("a.png"), [[0, 0, 9, 9]], [DOG])], "val")
    aligned = align_classes(val, ["bird", "cat", "dog"])
    assert aligned.records[0].labels.tolist() == [2] and aligned.warnings == []
