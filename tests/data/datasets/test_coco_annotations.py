"""COCO's categories: groups, equal names, ids that are text; ids, relative boxes and boxes of masks."""

from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from data.datasets.coco_annotations import CocoObject, parse_categories, parse_object, relative_boxes, text_id
from data.errors import DatasetError


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


def compressed_mask() -> dict[str, Any]:
    """Run lengths, as text, of a mask of 40 x 30 px whose object covers columns 5 to 24 and rows 8 to 20."""
    pixels = np.zeros((30, 40), np.uint8, order="F")
    pixels[8:21, 5:25] = 1
    encoded = mask.encode(pixels)
    return encoded | {"counts": encoded["counts"].decode()}


@pytest.mark.parametrize("counts", ["compressed", [5 * 30 + 8, 13, *[17, 13] * 19, 9 + 15 * 30]])
def test_a_missing_box_is_that_of_the_mask(counts: str | list[int]) -> None:
    segment = compressed_mask() | ({} if isinstance(counts, str) else {"counts": counts})
    _, found = parse_object({"image_id": 1, "category_id": 1, "segmentation": segment}, {"1": 0})
    assert found[1:5] == (5, 8, 20, 13)


@pytest.mark.parametrize(
    "change",
    [
        {"size": [0, 40]},
        {"size": [10**9, 10**9]},
        {"size": None},
        {"counts": None},
        {"counts": "a number that ends too ear"},
        {"counts": "0oooooooooo"},  # within a number
        {"counts": [1, 2, 3]},
        {"counts": [30 * 40]},  # nothing is covered
        {"counts": [-1, 30 * 40 + 1]},
    ],
)
def test_a_mask_that_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match=r"of image 1 has bbox None"):
        parse_object({"image_id": 1, "category_id": 1, "segmentation": compressed_mask() | change}, {"1": 0})
