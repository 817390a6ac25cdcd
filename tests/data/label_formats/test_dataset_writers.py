"""Writers of YOLO, COCO and VOC: what they write is read back by this project's readers, from each to each."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets.records import Dataset
from data.datasets.registry import open_dataset
from data.inspection.verification import verify_dataset
from data.label_formats.label_registry import open_label_writer
from tests.support.dataset_records import make_image, record

READ_BACK = ("yolo", "coco", "voc")
CLASSES = ("crème brûlée", "yes", "猫")


def write(form: str, folder: Path, source: Dataset) -> Dataset:
    with open_label_writer(form, folder, source.class_names) as writer:
        for each in source.records:
            writer.add("train", each)
    return verify_dataset(open_dataset(form, folder, "train"), strict=True)


def objects(dataset: Dataset) -> dict[str, list[tuple[str, list[float]]]]:
    return {
        Path(each.image).name: [
            (dataset.class_names[label], box)
            for label, box in zip(each.labels.tolist(), each.boxes.tolist(), strict=True)
        ]
        for each in dataset.records
    }


def assert_same(found: Dataset, expected: Dataset) -> None:
    assert found.class_names == expected.class_names and found.warnings == []
    ours, theirs = objects(found), objects(expected)
    assert ours.keys() == theirs.keys()
    for name, items in theirs.items():
        assert [label for label, _ in ours[name]] == [label for label, _ in items]
        for (_, box), (_, other) in zip(ours[name], items, strict=True):
            np.testing.assert_allclose(box, other, atol=0.02)


@pytest.fixture
def source(tmp_path: Path) -> Dataset:
    folder = tmp_path / "source"
    folder.mkdir()
    plain = make_image(folder / "zoë 1.PNG")
    empty = make_image(folder / "nothing.png", seed=1)
    turned = folder / "turned.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.open(make_image(folder / "stored.png", seed=2)).save(turned, exif=exif)  # 120 × 200 upright
    return Dataset(
        "voc",
        "train",
        CLASSES,
        [
            record(plain, [[0, 0, 200, 120], [3.25, 4.5, 60.75, 70.125]], [2, 0]),
            record(empty, [], []),
            record(turned, [[10, 150, 110, 195]], [1], size=(120, 200)),
        ],
    )


@pytest.mark.parametrize("second", READ_BACK)
@pytest.mark.parametrize("first", READ_BACK)
def test_formats_cross_without_a_change(first: str, second: str, source: Dataset, tmp_path: Path) -> None:
    between = write(first, tmp_path / "first", source)
    assert_same(between, source)
    assert [each.size for each in sorted(between.records, key=lambda each: str(each.image))] == [
        (200, 120),
        (120, 200),
        (200, 120),
    ]
    assert_same(write(second, tmp_path / "second", between), source)


def test_images_are_copied_unchanged(source: Dataset, tmp_path: Path) -> None:
    copies = write("coco", tmp_path / "out", source)
    for copy, original in zip(copies.records, source.records, strict=True):
        assert Path(copy.image).read_bytes() == Path(original.image).read_bytes()
        assert Path(copy.image).is_relative_to(tmp_path / "out")


def test_coco_keeps_crowds_areas_and_scores(tmp_path: Path) -> None:
    image = make_image(tmp_path / "a.png")
    crowd = record(image, [[0, 0, 50, 50], [10, 10, 60, 60]], [0, 1], crowd=[0, 1])
    with open_label_writer("coco", tmp_path / "out", ("cat", "dog")) as writer:
        writer.add("train", crowd, np.array([0.123456, 0.5], np.float32))
    assert writer.notes() == []
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [item["score"] for item in content["annotations"]] == [0.1235, 0.5]
    (found,) = open_dataset("coco", tmp_path / "out", "train").records
    assert found.crowd.tolist() == [False, True] and found.areas.tolist() == [2500, 2500]


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_crowds_are_left_out_where_there_is_no_flag(form: str, tmp_path: Path) -> None:
    image = make_image(tmp_path / "a.png")
    with open_label_writer(form, tmp_path / "out", ("cat", "dog")) as writer:
        writer.add("train", record(image, [[0, 0, 50, 50], [10, 10, 60, 60]], [0, 1], crowd=[0, 1]))
    assert writer.notes() == ["1 crowd boxes are left out: the format has no flag for them"]
    (found,) = open_dataset(form, tmp_path / "out", "train").records
    assert found.labels.tolist() == [0]


def test_voc_keeps_difficult_objects_and_others_say_that_they_do_not(tmp_path: Path) -> None:
    hard = record(make_image(tmp_path / "a.png"), [[0, 0, 50, 50], [10, 10, 60, 60]], [0, 1])
    hard.difficult[1] = True
    with open_label_writer("voc", tmp_path / "voc", ("cat", "dog")) as writer:
        writer.add("train", hard)
    assert writer.notes() == []
    (found,) = open_dataset("voc", tmp_path / "voc", "train").records
    assert found.difficult.tolist() == [False, True]
    with open_label_writer("yolo", tmp_path / "yolo", ("cat", "dog")) as writer:
        writer.add("train", hard)
    assert writer.notes() == ["1 difficult objects are plain ones: the format has no flag for them"]
