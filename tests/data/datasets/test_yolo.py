"""The YOLO reader: yaml, label files, polygons, and what people get wrong in them."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets.registry import open_dataset
from data.errors import DatasetError
from data.images.image_io import write_image

YAML = "train: images/train\nval: images/val\nnames:\n  0: nut\n  1: screw\n"


def add(root: Path, image: str, labels: str | None) -> None:
    write_image(root / image, np.zeros((50, 100, 3), dtype=np.uint8))
    if labels is not None:
        file = (root / image.replace("images/", "labels/", 1)).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(labels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data.yaml").write_text(YAML)
    add(tmp_path, "images/train/a.jpg", "1 0.5 0.5 0.2 0.4\n\n0 0.25 0.5 0.5 1.0\n")
    add(tmp_path, "images/train/b.jpg", None)
    add(tmp_path, "images/train/deep/c.jpg", "0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6\n")
    add(tmp_path, "images/val/d.jpg", "")
    return tmp_path


def test_read_by_hand(root: Path) -> None:
    dataset = open_dataset("yolo", root, "train")
    assert dataset.class_names == ("nut", "screw")
    ids = [record.image_id for record in dataset.records]
    assert ids == ["images/train/a.jpg", "images/train/b.jpg", "images/train/deep/c.jpg"]
    a, b, c = dataset.records
    np.testing.assert_allclose(a.boxes, [[40, 15, 60, 35], [0, 0, 50, 50]], atol=1e-5)
    assert a.labels.tolist() == [1, 0] and a.size == (100, 50)
    assert b.boxes.shape == (0, 4)
    np.testing.assert_allclose(c.boxes, [[10, 10, 30, 30]], atol=1e-5)
    assert len(dataset.warnings) == 1 and dataset.warnings[0].startswith("no label file")
    assert "1 of 3 images, the first is" in dataset.warnings[0] and "b.jpg" in dataset.warnings[0]


def test_an_empty_label_file_is_an_image_without_objects(root: Path) -> None:
    add(root, "images/train/b.jpg", "")
    assert open_dataset("yolo", root, "train").warnings == []


def test_missing_label_files_are_counted(root: Path) -> None:
    (root / "labels/val/d.txt").unlink()
    add(root, "images/val/e.jpg", None)
    dataset = open_dataset("yolo", root, "val")
    assert len(dataset.records) == 2
    assert "2 of 2 images" in dataset.warnings[0] and str(Path("labels/val/d.txt")) in dataset.warnings[0]


def test_label_files_without_an_image_are_counted(root: Path) -> None:
    (root / "labels/train/other.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (root / "labels/train/classes.txt").write_text("nut\nscrew\n")
    warning = open_dataset("yolo", root, "train").warnings[-1]
    assert warning.startswith("label files without an image: 1 in") and warning.endswith("other.txt")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("names: [nut, screw]", ("nut", "screw")),
        ("names: {1: screw, 0: nut}", ("nut", "screw")),
        ("names: [nut, 7]\nnc: 2", ("nut", "7")),
        ("names: [yes, no, null, ~, 1e3, 007, 2024-01-01]", ("yes", "no", "null", "~", "1e3", "007", "2024-01-01")),
        ("names: {0: on, 1: Off}\nnc:", ("on", "Off")),
    ],
)
def test_names_as_list_or_dict(root: Path, line: str, names: tuple[str, ...]) -> None:
    (root / "data.yaml").write_text(f"train: images/train\n{line}\n")
    assert open_dataset("yolo", root / "data.yaml", "train").class_names == names


@pytest.mark.parametrize(
    "text",
    [
        "path: ..\ntrain: images/train",
        "path: /not/of/this/machine\ntrain: ../images/train",
        "train: [images/train]",
        "train: list.txt",
        "train: [images/train/a.jpg.txt, images/train]",
    ],
)
def test_where_a_split_may_lie(root: Path, text: str) -> None:
    where = root
    if "path: .." in text:
        where = root / "yaml"
        where.mkdir()
    (root / "data.yaml").unlink()
    (where / "own.yaml").write_text(f"{text}\nnames: [nut, screw]\n")
    lines = "images/train/a.jpg\n./images/train/b.jpg\n\n" + str(root / "images/train/deep/c.jpg")
    (root / "list.txt").write_text(lines)
    (root / "images/train/a.jpg.txt").write_text("images/train/a.jpg\n")
    dataset = open_dataset("yolo", where, "train")
    assert [record.image.name for record in dataset.records] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [len(record.labels) for record in dataset.records] == [2, 0, 1]


def test_labels_beside_images_below_no_images_folder(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: part\nnames: [nut]\n")
    add(tmp_path, "part/a.png", "0 0.5 0.5 1 1")
    np.testing.assert_allclose(open_dataset("yolo", tmp_path, "train").records[0].boxes, [[0, 0, 100, 50]])


def test_boxes_are_relative_to_the_upright_image(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: part\nnames: [nut]\n")
    add(tmp_path, "part/a.jpg", "0 0.5 0.5 1 1")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 50)).save(tmp_path / "part/a.jpg", exif=exif)
    record = open_dataset("yolo", tmp_path, "train").records[0]
    assert record.size == (50, 100)
    np.testing.assert_allclose(record.boxes, [[0, 0, 50, 100]])


def test_a_box_over_the_edge_is_clipped_with_a_warning(root: Path) -> None:
    add(root, "images/train/a.jpg", "0 0.95 0.5 0.3 0.2\n")
    dataset = open_dataset("yolo", root, "train")
    np.testing.assert_allclose(dataset.records[0].boxes, [[80, 20, 100, 30]], atol=1e-4)
    assert dataset.warnings[-1].startswith("box clipped") and "a.txt" in dataset.warnings[-1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.2", "4 numbers"),
        ("0 0.5 0.5 0.2 0.2 0.9", "6 numbers"),
        ("nut 0.5 0.5 0.2 0.2", "not a line of numbers"),
        ("2 0.5 0.5 0.2 0.2", "class 2, but the yaml has 2 names"),
        ("-1 0.5 0.5 0.2 0.2", "class -1"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5"),
        ("0 50 25 20 20", "relative to the image"),
        ("0 nan 0.5 0.2 0.2", "relative to the image"),
    ],
)
def test_a_damaged_line_is_dropped_and_named_with_its_number(root: Path, line: str, reason: str) -> None:
    add(root, "images/train/a.jpg", f"0 0.5 0.5 0.1 0.1\n{line}\n1 0.5 0.5 0.1 0.1\n")
    add(root, "images/train/b.jpg", f"{line}\n")
    dataset = open_dataset("yolo", root, "train")
    assert dataset.records[0].labels.tolist() == [0, 1] and not len(dataset.records[1].labels)
    assert len(dataset.warnings) == 2, "every fault, not only the first"
    assert re.search(rf"a\.txt, line 2: .*{reason}", dataset.warnings[0]) and "b.txt, line 1" in dataset.warnings[1]


@pytest.mark.parametrize("names", ["[red, red]", '[red, ""]', "{0: red, 1: }"])
def test_faulty_names_are_refused(root: Path, names: str) -> None:
    (root / "data.yaml").write_text(f"train: images/train\nnames: {names}\n")
    with pytest.raises(DatasetError, match=r"comes 2 times|empty name"):
        open_dataset("yolo", root, "train")


def test_unreadable_images_are_left_to_the_header_check(root: Path) -> None:
    (root / "images/train/a.jpg").write_text("hello")
    (root / "list.txt").write_text("images/train/c.jpg\nimages/train/gone.jpg\n")
    (root / "data.yaml").write_text("train: [images/train, list.txt]\nnames: [nut, screw]\n")
    dataset = open_dataset("yolo", root, "train")
    assert [record.image.name for record in dataset.records] == ["a.jpg", "b.jpg", "c.jpg", "gone.jpg"]
    assert [record.size for record in dataset.records] == [None, (100, 50), (100, 50), None]


@pytest.mark.parametrize("split", ["train", "training"])
def test_a_split_s_key_has_other_names(root: Path, split: str) -> None:
    (root / "data.yaml").write_text("training: images/train\nvalid: images/val\nnames: [nut, screw]\n")
    assert len(open_dataset("yolo", root, split).records) == 3
    assert len(open_dataset("yolo", root, "val").records) == 1


@pytest.mark.parametrize("line", [r"train: C:\sets\mine\images\train", r"train: images\train", "train: win.txt"])
def test_paths_of_windows(root: Path, line: str) -> None:
    (root / "data.yaml").write_text(f"{line}\nnames: [nut, screw]\n")
    (root / "win.txt").write_text("C:\\mine\\images\\train\\a.jpg\r\nimages\\train\\deep\\c.jpg\r\n")
    assert [len(record.labels) for record in open_dataset("yolo", root, "train").records if len(record.labels)] == [
        2,
        1,
    ]


def test_litter_is_no_image(root: Path) -> None:
    for name in (".ipynb_checkpoints/a-checkpoint.jpg", "._a.jpg", ".DS_Store", "Thumbs.db"):
        (root / "images/train" / name).parent.mkdir(exist_ok=True)
        (root / "images/train" / name).write_bytes(b"x")
    assert len(open_dataset("yolo", root, "train").records) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train: [", "not YAML"),
        ("- a\n- b", "holds a list"),
        ("train: images/train", "names is None"),
        ("train: images/train\nnames: {1: a, 2: b}", r"numbers in names are \[1, 2\]"),
        ("train: images/train\nnames: [a]\nnc: 2", "nc is 2, but there are 1 names"),
        ("train: images/none\nnames: [a]", "neither a folder nor a .txt"),
        ("val: images/val\nnames: [a]", "no split 'train'; there are val"),
    ],
)
def test_a_damaged_yaml_is_one_line(root: Path, text: str, reason: str) -> None:
    (root / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=rf"data\.yaml: .*{reason}") as error:
        open_dataset("yolo", root, "train")
    assert "\n" not in str(error.value)


def test_no_yaml_and_two_yamls(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found none"):
        open_dataset("yolo", tmp_path, "train")
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text(YAML)
    with pytest.raises(DatasetError, match=r"found a\.yaml, b\.yml"):
        open_dataset("yolo", tmp_path, "train")
