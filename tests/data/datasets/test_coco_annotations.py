"""COCO's categories: groups, equal names, ids that are text; ids and relative boxes."""

from typing import Any

import pytest

from data.datasets.coco_annotations import CocoObject, parse_categories, relative_boxes, text_id


def categories(
    *rows: tuple[Any, ...], used: tuple[object, ...] = (1, 2)
) -> tuple[tuple[str, ...], dict[str, int], int]:
    """Names, labels and the number of warnings for rows (id, name, supercategory)."""
    warnings: list[str] = []
    entries = [dict(zip(("id", "name", "supercategory"), row, strict=False)) for row in rows]
    found = parse_categories(entries, [{"category_id": key} for key in used], "a.json", warnings)
    return found.names, found.labels, len(warnings)


def test_a_group_without_annotations_is_no_class() -> None:
    rows = [(1, "red", "ball"), (2, "blue", "ball"), (0, "ball", "none")]
    assert categories(*rows) == (("red", "blue"), {"1": 0, "2": 1}, 0)
    assert categories(*rows, used=(0, 1, 2))[0] == ("ball", "red", "blue"), "one with annotations is a class"


def test_a_group_that_bears_a_class_s_name() -> None:
    assert categories((1, "red"), (2, "blue"), (0, "red", "none")) == (("red", "blue"), {"1": 0, "2": 1}, 0)
    assert categories((0, "red"), (1, "red"), used=()) == (("red",), {"1": 0}, 0)


def test_used_categories_of_one_name_are_one_class() -> None:
    assert categories((1, "red"), (2, "red"), (3, "blue")) == (("red", "blue"), {"1": 0, "2": 0, "3": 1}, 1)


def test_ids_as_text_and_faulty_entries() -> None:
    assert categories(("10", "a"), ("9", "b"), ("x", "c"), (None, "d"), used=())[:2] == (
        ("b", "a", "c"),
        {"9": 0, "10": 1, "x": 2},
    )
    assert categories((1, None), (2, " b "))[0] == ("", "b"), "an empty name is left to the check of names"


def test_a_supercategory_of_its_own_name_is_no_group() -> None:
    assert categories((1, "person", "person"), (2, "car", "vehicle"), used=())[0] == ("person", "car")


@pytest.mark.parametrize(
    ("value", "expected"), [(7, "7"), (7.0, "7"), ("7", "7"), (" a ", "a"), (7.5, None), (None, None), (True, None)]
)
def test_ids_as_one_text(value: object, expected: str | None) -> None:
    assert text_id(value) == expected


def test_relative_boxes_are_a_property_of_the_whole() -> None:
    small = CocoObject(0, 0.5, 0.5, 0.5, 0.4, None, False)
    assert relative_boxes([small, small])
    assert not relative_boxes([small, small._replace(x=40)])
    assert not relative_boxes([])
