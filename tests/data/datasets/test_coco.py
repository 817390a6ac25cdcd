"""The COCO reader: places of the files, gaps of the ids, crowds, areas."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.datasets.coco import category_ids
from data.datasets.image_headers import check_headers
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


def test_missing_images_are_left_to_the_header_check_unless_all_are(tmp_path: Path) -> None:
    root = lay_out(tmp_path, content(), "val.json", "val")
    (root / "val" / "a.jpg").unlink()
    checked = check_headers(open_dataset("coco", root, "val"))
    assert [record.image_id for record in checked.records] == ["900"]
    assert len(checked.unreadable) == 1 and str(root / "val" / "a.jpg") in checked.unreadable[0]
    (root / "val" / "b.jpg").unlink()
    with pytest.raises(DatasetError, match=r"all 2 images of val are missing, the first is b\.jpg"):
        open_dataset("coco", root, "val")


def test_two_entries_of_one_image_are_one_with_the_objects_of_both(tmp_path: Path) -> None:
    data = content()
    data["images"].append(data["images"][1] | {"id": 5})
    data["annotations"][1]["image_id"] = 5
    dataset = open_dataset("coco", lay_out(tmp_path, data, "val.json", "val"), "val")
    assert [record.image_id for record in dataset.records] == ["900", "4"]
    assert dataset.records[1].labels.tolist() == [2, 0]
    (warning,) = dataset.warnings
    assert warning.startswith("image listed twice, the objects of both entries are taken: ") and "ids 4, 5" in warning


def changed(**change: object) -> dict[str, Any]:
    data = content()
    for key, value in change.items():
        target = data["annotations"][0] if key in data["annotations"][0] or key == "segmentation" else data
        target[key] = value
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON list"),
        ("{}", "no 'categories'"),
        (changed(images=None), "'images' is a NoneType"),
        (changed(categories=[]), "no categories"),
        (changed(categories=[{"id": 1, "name": "a"}] * 2), "two categories with one id"),
        (changed(images=[], annotations=[]), "lists no images"),
    ],
)
def test_damaged_files_are_one_line_that_names_them(tmp_path: Path, data: object, reason: str) -> None:
    root = lay_out(tmp_path, data, "val.json", "val")
    with pytest.raises(DatasetError, match=reason) as error:
        open_dataset("coco", root, "val")
    assert "val.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_id": 77}, "val.json: id 1 of image 77, which"),
        ({"image_id": None}, "id 1 has image_id None"),
        ({"category_id": 2}, "of category 2, which"),
        ({"category_id": None}, "of category None, which"),
        ({"bbox": [1, 2, 3]}, r"of image 4 has bbox \[1, 2, 3\]"),
        ({"bbox": None}, "of image 4 has bbox None"),
        ({"bbox": [1, 2, "x", 4]}, "has bbox"),
    ],
)
def test_a_faulty_annotation_is_dropped_and_named_by_its_id(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    dataset = open_dataset("coco", lay_out(tmp_path, changed(**change), "val.json", "val"), "val")
    assert [len(record.labels) for record in dataset.records] == [0, 1]
    assert len(dataset.warnings) == 1 and dataset.warnings[0].startswith("annotation dropped: ")
    assert re.search(reason, dataset.warnings[0])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"area": None}, {"areas": [615, 4000]}),
        ({"bbox": ["10", "5", "20.5", "30"]}, {"areas": [123.5, 4000]}),
        ({"bbox": None, "segmentation": [[10, 5, 30.5, 5, 30.5, 35, 10, 35]]}, {"areas": [123.5, 4000]}),
        ({"iscrowd": "0"}, {"crowd": [False, True]}),
        ({"iscrowd": "1"}, {"crowd": [True, True]}),
        ({"iscrowd": None}, {"crowd": [False, True]}),
        ({"image_id": "4", "category_id": "90"}, {"labels": [2, 0]}),
    ],
)
def test_what_can_be_computed_is_computed(
    tmp_path: Path, change: dict[str, object], expected: dict[str, list[object]]
) -> None:
    record = open_dataset("coco", lay_out(tmp_path, changed(**change), "val.json", "val"), "val").records[1]
    np.testing.assert_array_equal(record.boxes[0], np.array([10, 5, 30.5, 35], np.float32))
    for name, values in expected.items():
        assert getattr(record, name).tolist() == values


@pytest.mark.parametrize("size", [{"width": 0, "height": 0}, {"width": None, "height": None}, {}])
def test_a_missing_size_is_that_of_the_image(tmp_path: Path, size: dict[str, object]) -> None:
    data = content()
    data["images"] = [{"id": image["id"], "file_name": image["file_name"], **size} for image in data["images"]]
    dataset = open_dataset("coco", lay_out(tmp_path, data, "val.json", "val"), "val")
    assert dataset.records[1].size == (100, 50) and len(dataset.records[1].labels) == 2 and dataset.warnings == []


def test_relative_boxes_of_a_whole_file_are_scaled(tmp_path: Path) -> None:
    data = changed(bbox=[0.1, 0.1, 0.2, 0.6], area=0.12)
    data["annotations"][1]["bbox"] = [0, 0, 1, 1]
    dataset = open_dataset("coco", lay_out(tmp_path, data, "val.json", "val"), "val")
    np.testing.assert_allclose(dataset.records[1].boxes, [[10, 5, 30, 35], [0, 0, 100, 50]], rtol=1e-5)
    np.testing.assert_allclose(dataset.records[1].areas, [600, 5000], rtol=1e-5)
    assert len(dataset.warnings) == 1 and dataset.warnings[0].startswith("boxes from 0 to 1")


def test_images_without_an_id_of_their_own_are_dropped(tmp_path: Path) -> None:
    data = content()
    data["images"] += [*data["images"][:1], {"file_name": "c.jpg"}, None]
    dataset = open_dataset("coco", lay_out(tmp_path, data, "val.json", "val"), "val")
    assert [record.image_id for record in dataset.records] == ["900", "4"] and len(dataset.warnings) == 3


def test_latin_1_and_utf_16(tmp_path: Path) -> None:
    data = changed(categories=[{"id": 90, "name": "Müller"}, {"id": 1, "name": "b"}])
    root = lay_out(tmp_path, data, "val.json", "val")
    for encoding in ("cp1252", "utf-16"):
        (root / "val.json").write_bytes(json.dumps(data, ensure_ascii=False).encode(encoding))
        assert open_dataset("coco", root, "val").class_names == ("b", "Müller")


@pytest.mark.parametrize("place", ["val/annotations.json", "val/labels.json", "val/result.json"])
def test_places_of_other_tools(tmp_path: Path, place: str) -> None:
    root = lay_out(tmp_path, content(), place, "val/images")
    assert len(open_dataset("coco", root, "val").records) == 2
    with pytest.raises(DatasetError, match=r"there are val$"):
        open_dataset("coco", root, "train")
