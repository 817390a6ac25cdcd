"""The COCO reader: places of the files, gaps of the ids, crowds, areas."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.datasets.coco import category_ids
from data.datasets.registry import open_dataset
from data.errors import DatasetError
from data.images.image_io import write_image


def content() -> dict[str, Any]:
    return {
        "images": [
            {"id": 900, "file_name": "b.jpg", "width": 100, "height": 50},
            {"id": 4, "file_name": "a.jpg", "width": 100, "height": 50},
        ],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 90, "bbox": [10, 5, 20.5, 30], "area": 123.5, "iscrowd": 0},
            {"id": 2, "image_id": 4, "category_id": 1, "bbox": [0, 0, 100, 50], "area": 4000, "iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}],
    }


def lay_out(root: Path, data: object, json_place: str, images: str) -> Path:
    (root / json_place).parent.mkdir(parents=True, exist_ok=True)
    (root / json_place).write_text(data if isinstance(data, str) else json.dumps(data))
    for name in ("a.jpg", "b.jpg"):
        write_image(root / images / name, np.zeros((50, 100, 3), dtype=np.uint8))
    return root


@pytest.mark.parametrize(
    ("json_place", "images"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("annotations/image_info_val2017.json", "images"),
        ("val2017.json", "."),
        ("val2017/_annotations.coco.json", "val2017"),
    ],
)
def test_read_by_hand_from_every_layout(tmp_path: Path, json_place: str, images: str) -> None:
    root = lay_out(tmp_path, content(), json_place, images)
    dataset = open_dataset("coco", root, "val2017")
    assert dataset.class_names == ("person", "stop sign", "toothbrush"), "in the order of the ids"
    empty, full = dataset.records
    assert (empty.image_id, full.image_id) == ("900", "4")
    assert empty.boxes.shape == (0, 4)
    np.testing.assert_array_equal(full.boxes, np.array([[10, 5, 30.5, 35], [0, 0, 100, 50]], dtype=np.float32))
    assert full.labels.tolist() == [2, 0]
    assert full.crowd.tolist() == [False, True] and not full.difficult.any()
    assert full.areas.tolist() == [123.5, 4000]
    assert full.size == (100, 50) and full.image.is_file() and full.image.name == "a.jpg"
    assert category_ids(root, "val2017") == (1, 13, 90)
    assert dataset.warnings == []


def test_a_test_set_without_annotations_has_no_boxes(tmp_path: Path) -> None:
    data = content()
    del data["annotations"]
    root = lay_out(tmp_path, data, "annotations/image_info_test-dev2017.json", "test-dev2017")
    assert [len(record.labels) for record in open_dataset("coco", root, "test-dev2017").records] == [0, 0]


def test_boxes_are_clipped_and_dropped_with_warnings_but_rounding_is_not_news(tmp_path: Path) -> None:
    data = content()
    data["annotations"][0]["bbox"] = [90, 40, 10.3, 10]
    data["annotations"][1]["bbox"] = [90, 40, 50, 0]
    dataset = open_dataset("coco", lay_out(tmp_path, data, "val.json", "val"), "val")
    np.testing.assert_array_equal(dataset.records[1].boxes, [[90, 40, 100, 50]])
    assert dataset.records[1].areas.tolist() == [123.5]
    assert len(dataset.warnings) == 2 and "image 4" in dataset.warnings[0] and "dropped" in dataset.warnings[1]


def test_a_missing_split_lists_those_that_exist(tmp_path: Path) -> None:
    root = lay_out(tmp_path, content(), "annotations/instances_val2017.json", "val2017")
    with pytest.raises(DatasetError, match=r"no split 'val' .*there are val2017$"):
        open_dataset("coco", root, "val")


def test_missing_images_are_counted(tmp_path: Path) -> None:
    root = lay_out(tmp_path, content(), "val.json", "val")
    (root / "val" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 of 2 images of val are missing, the first is a\.jpg"):
        open_dataset("coco", root, "val")


def changed(**change: object) -> dict[str, Any]:
    data = content()
    for key, value in change.items():
        target = data["annotations"][0] if key in ("image_id", "category_id", "bbox") else data
        target[key] = value
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON list"),
        ("{}", "no 'categories'"),
        (changed(image_id=77), "annotation 1 is of image 77"),
        (changed(category_id=2), "category 2"),
        (changed(bbox=[1, 2, 3]), "not COCO instances"),
        (changed(bbox=None), "not COCO instances"),
        (changed(categories=[]), "no categories"),
        (changed(categories=[{"id": 1, "name": "a"}] * 2), "two categories with one id"),
        (changed(images=[], annotations=[]), "lists no images"),
        (changed(images=content()["images"] + content()["images"][:1]), "1 images share their id"),
    ],
)
def test_damaged_files_are_one_line_that_names_them(tmp_path: Path, data: object, reason: str) -> None:
    root = lay_out(tmp_path, data, "val.json", "val")
    with pytest.raises(DatasetError, match=reason) as error:
        open_dataset("coco", root, "val")
    assert "val.json" in str(error.value) and "\n" not in str(error.value)
