"""YOLO label files: places, cases, encodings, keypoints, faulty lines."""

from pathlib import Path

import pytest

from data.datasets.yolo_labels import LabelFiles, LabelParser
from data.errors import DatasetError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("images/train/a.jpg", "labels/train/a.TXT"),
        ("images/train/A.JPG", "labels/train/a.txt"),
        ("Images/train/a.jpg", "Labels/train/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("images/a.jpg", "images/a.txt"),
        ("plain/a.jpg", "plain/a.Txt"),
    ],
)
def test_places(tmp_path: Path, image: str, label: str) -> None:
    touch(tmp_path / image, tmp_path / label)
    files = LabelFiles()
    assert files.find(tmp_path / image) == tmp_path / label
    assert files.find(tmp_path / image).exists() and files.warnings(1) == []


def test_the_labels_folder_counts_before_a_file_beside(tmp_path: Path) -> None:
    touch(tmp_path / "images/a.txt", tmp_path / "labels/a.txt")
    assert LabelFiles().find(tmp_path / "images/a.jpg") == tmp_path / "labels/a.txt"


def test_a_list_of_some_images_leaves_the_labels_of_others(tmp_path: Path) -> None:
    touch(*(tmp_path / place for place in ("images/a.jpg", "images/b.jpg", "labels/a.txt", "labels/b.txt")))
    files = LabelFiles()
    files.find(tmp_path / "images/a.jpg")
    assert files.warnings(1) == []


@pytest.mark.parametrize(
    ("line", "values", "box"),
    [
        ("0 0.5 0.5 0.2 0.4", None, [0.4, 0.3, 0.6, 0.7]),
        ("0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6", None, [0.1, 0.2, 0.3, 0.6]),
        ("0 0.5 0.5 0.2 0.4 0.45 0.4 0.55 0.4 0.45 0.6 0.55 0.6", 8, [0.4, 0.3, 0.6, 0.7]),
        ("0 0.5 0.5 0.2 0.4 0.45 0.4 2 0.55 0.6 1", 6, [0.4, 0.3, 0.6, 0.7]),
        ("0 0.5 0.5 0.2 0.4 0.45 0.4 2 0.55 0.6 1", None, [0.4, 0.3, 0.6, 0.7]),
        ("0 0.5 0.5 0.2 0.4 0.45 0.4 2 0 0 0 0.5 0.5 1", None, [0.4, 0.3, 0.6, 0.7]),
        ("0 0.5 0.5 0.2 0.4", 8, [0.4, 0.3, 0.6, 0.7]),
    ],
)
def test_boxes_polygons_and_keypoints(line: str, values: int | None, box: list[float]) -> None:
    label, found = LabelParser(1, values).parse(line)
    assert label == 0 and found == pytest.approx(box)


def test_a_number_of_values_that_is_not_that_of_the_keypoints_is_a_fault() -> None:
    with pytest.raises(DatasetError, match="and 8 values of keypoints"):
        LabelParser(1, 8).parse("0 0.1 0.2 0.3 0.2 0.3 0.6")


def test_utf_16_and_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("0 0.5 0.5 0.2 0.4\r\n".encode("utf-16"))
    (tmp_path / "b.txt").mkdir()
    warnings: list[str] = []
    parser = LabelParser(1)
    assert parser.read(tmp_path / "a.txt", warnings)[0] == [0] and warnings == []
    assert parser.read(tmp_path / "b.txt", warnings) == ([], [])
    assert len(warnings) == 1 and "b.txt" in warnings[0]
