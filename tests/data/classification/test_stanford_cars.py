"""Stanford Cars in both of its layouts, and damaged."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from data.classification.stanford_cars import read_cars
from data.errors import DatasetError
from tests.support.stanford_cars_files import (
    BOXES,
    CORNERS,
    FIELDS,
    NAMES,
    names,
    official,
    older,
    structs,
)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_official_folders(tmp_path: Path, split: str) -> None:
    cars = read_cars(official(tmp_path), split)
    assert cars.class_names == NAMES
    assert cars.files == [tmp_path / f"cars_{split}" / f"{number:05}.jpg" for number in (1, 2, 3, 4)]
    assert cars.labels.tolist() == [0, 1, 2, 0] and cars.labels.dtype == np.int64
    assert cars.boxes.tolist() == CORNERS and cars.boxes.dtype == np.float32


def test_the_older_layout_splits_by_its_flag(tmp_path: Path) -> None:
    older(tmp_path)
    train, test = (read_cars(tmp_path, split) for split in ("train", "test"))
    assert [file.name for file in train.files] == ["000001.jpg", "000002.jpg"] and train.labels.tolist() == [0, 1]
    assert [file.name for file in test.files] == ["000003.jpg", "000004.jpg"] and test.labels.tolist() == [2, 0]
    assert test.boxes.tolist() == CORNERS[2:] and train.class_names == test.class_names == NAMES


def test_a_split_of_one_image(tmp_path: Path) -> None:
    """MATLAB knows no scalar, SciPy's squeezing makes one."""
    cars = read_cars(official(tmp_path, count=1), "train")
    assert cars.labels.tolist() == [0] and cars.boxes.tolist() == CORNERS[:1]


def rewrite(root: Path, **changes: object) -> None:
    row = dict(zip(FIELDS, BOXES[0], strict=True)) | {"class": 1, "fname": "00001.jpg"} | changes
    kept = {key: value for key, value in row.items() if value is not None}
    savemat(root / "devkit" / "cars_train_annos.mat", {"annotations": structs([kept])})


def unnamed(root: Path) -> None:
    cells = names()
    cells[0, 1] = ""
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": cells})


def cut(root: Path) -> None:
    file = root / "devkit" / "cars_train_annos.mat"
    file.write_bytes(file.read_bytes()[:300])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "devkit" / "cars_train_annos.mat").unlink(), "cars_train_annos.mat is missing"),
        (lambda root: (root / "devkit" / "cars_meta.mat").unlink(), "cars_meta.mat is missing"),
        (lambda root: (root / "devkit" / "cars_train_annos.mat").write_text("no file"), "no MATLAB file"),
        (cut, "no MATLAB file that can be read"),
        (lambda root: savemat(root / "devkit" / "cars_train_annos.mat", {"x": 1}), "has no variable 'annotations'"),
        (lambda root: savemat(root / "devkit" / "cars_meta.mat", {"x": 1}), "has no variable 'class_names'"),
        (unnamed, "a class without a name"),
        (lambda root: rewrite(root, **{"class": None}), "have no field 'class'"),
        (lambda root: rewrite(root, bbox_y2=None), "have no field 'bbox_y2'"),
        (lambda root: rewrite(root, bbox_y2=np.zeros((0, 0))), "expected a number"),
        (lambda root: rewrite(root, **{"class": 4}), "00001.jpg is of class 4, and cars_meta.mat names 1 to 3"),
        (lambda root: rewrite(root, **{"class": 0}), "is of class 0"),
        (lambda root: rewrite(root, fname="../../secret.jpg"), "is no image's name below the root"),
        (lambda root: (root / "cars_train" / "00002.jpg").unlink(), "1 images of cars_train_annos.mat are not in"),
    ],
)
def test_what_is_damaged_is_one_line(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    official(tmp_path)
    damage(tmp_path)
    with pytest.raises(DatasetError) as error:
        read_cars(tmp_path, "train")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    for root, split, words in (
        (tmp_path, "val", "no split 'val' of cars; expected one of train, test"),
        (tmp_path / "absent", "train", "no such folder"),
        (tmp_path, "train", "has nothing in it; expected devkit, cars_train and cars_test, or cars_annos.mat"),
    ):
        with pytest.raises(DatasetError, match=words):
            read_cars(root, split)
    official(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(DatasetError, match=r"withlabels.mat is missing \(cars_test_annos.mat has no labels\)"):
        read_cars(tmp_path, "test")
