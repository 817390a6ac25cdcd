"""Stanford Cars: read in both of its layouts, and looked at by its boxes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from data.augmentation.geometry import MEAN_COLOR
from data.classification.image_folder import open_image_folder
from data.classification.object_crop import WHOLE_IMAGE, ObjectCrop
from data.classification.stanford_cars import read_cars
from data.errors import DatasetError, ImageError, SettingsError
from data.images.image_io import write_image
from tests.support.stanford_cars_files import (
    BOXES,
    FIELDS,
    INSIDE,
    NAMES,
    OUTSIDE,
    SIZE,
    make_image,
    names,
    official,
    older,
    structs,
)

# 1-based inclusive pixels as continuous ones, by hand
CORNERS = [[0, 0, 40, 30], [10, 5, 30, 25], [4, 2, 20, 14], [20, 10, 38, 28]]


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


# Views


def test_the_default_view_is_the_image_itself() -> None:
    image = make_image(BOXES[1])
    assert WHOLE_IMAGE(image, np.array(CORNERS[1], float), "x") is image and not WHOLE_IMAGE.needs_box


@pytest.mark.parametrize("box", range(4))
def test_a_crop_shows_the_box_alone(box: int) -> None:
    left, top, right, bottom = CORNERS[box]
    seen = ObjectCrop(crop_to_box=True)(make_image(BOXES[box]), np.array(CORNERS[box], float), "x")
    assert seen.shape == (bottom - top, right - left, 3) and (seen == INSIDE).all()


def test_a_margin_is_a_share_of_the_box_and_ends_at_the_image() -> None:
    image, box = make_image(BOXES[1]), np.array(CORNERS[1], float)  # 20 × 20 at (10, 5)
    seen = ObjectCrop(crop_to_box=True, box_margin=0.2)(image, box, "x")
    assert np.array_equal(seen, image[1:29, 6:34])
    assert np.array_equal(ObjectCrop(crop_to_box=True, box_margin=9)(image, box, "x"), image)


def test_an_erased_background_leaves_the_box() -> None:
    image, box = make_image(BOXES[1]), np.array(CORNERS[1], float)
    seen = ObjectCrop(erase_background=True)(image, box, "x")
    inside = np.zeros(image.shape[:2], bool)
    inside[5:25, 10:30] = True
    assert (seen[inside] == INSIDE).all() and (seen[~inside] == MEAN_COLOR).all()
    assert (image[~inside] == OUTSIDE).all(), "the image itself is as it was"
    both = ObjectCrop(crop_to_box=True, box_margin=0.2, erase_background=True)(image, box, "x")
    assert np.array_equal(both, seen[1:29, 6:34])


def test_a_box_is_clipped_and_one_outside_is_the_image_s_error(tmp_path: Path) -> None:
    image, view = make_image(BOXES[0]), ObjectCrop(crop_to_box=True)
    assert view(image, np.array([30, 20, 99, 99.0]), "x").shape == (10, 10, 3)
    for box in ([40, 0, 60, 30], [0, 30, 40, 31], [-9, 0, 0, 30], [20, 5, 10, 25]):
        with pytest.raises(ImageError, match=r"^a\.jpg: the box .* has no pixel of the image of 40×30"):
            view(image, np.array(box, float), "a.jpg")


def test_images_are_read_by_their_view(tmp_path: Path) -> None:
    images = open_image_folder("cars", official(tmp_path), "test", ObjectCrop(crop_to_box=True))
    assert images.split == "test" and len(images) == 4
    assert [images.read(place).shape[:2] for place in range(4)] == [(30, 40), (20, 20), (12, 16), (18, 18)]
    assert open_image_folder("cars", tmp_path, "test").read(1).shape[:2] == SIZE[::-1]


def test_boxes_that_a_set_does_not_have_are_not_asked_for(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "a" / "1.png", make_image(BOXES[0]))
    assert open_image_folder("imagefolder", tmp_path, "train", ObjectCrop(box_margin=0.5)).boxes is None
    with pytest.raises(SettingsError, match="crop_to_box needs boxes, and imagefolder has none"):
        open_image_folder("imagefolder", tmp_path, "train", ObjectCrop(crop_to_box=True))
