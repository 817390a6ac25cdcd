"""Classification datasets with and without boxes."""

from pathlib import Path

import numpy as np
import pytest

from data.classification.image_folder import open_image_folder
from data.classification.object_crop import ObjectCrop
from data.errors import DatasetError, SettingsError
from data.images.image_io import write_image
from tests.support.color_folders import make_folders
from tests.support.stanford_cars_files import (
    BOXES,
    SIZE,
    make_image,
    official,
)


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


def test_classes_are_the_folders_in_order(tmp_path: Path) -> None:
    dataset = open_image_folder("imagefolder", make_folders(tmp_path), "train")
    assert dataset.class_names == ("blue", "green", "red")
    assert len(dataset) == 48 and dataset.labels.tolist() == [0] * 16 + [1] * 16 + [2] * 16


def test_tiny_imagenet_s_ids_get_their_words(tmp_path: Path) -> None:
    for wnid in ("n01", "n02", "n03", "n04"):
        write_image(tmp_path / "train" / wnid / "images" / "a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\nn99\telse\n")
    assert open_image_folder("tiny-imagenet", tmp_path, "train").class_names == (
        "goldfish",
        "crane (n02)",
        "crane (n03)",
        "n04",
    )


def test_unknown_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="unknown layout"):
        open_image_folder("folders", tmp_path, "train")


def test_litter_is_neither_a_class_nor_an_image(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    for place in (".ipynb_checkpoints/a.jpg", "red/._a.png", "red/.ipynb_checkpoints/b.png"):
        (root / "train" / place).parent.mkdir(exist_ok=True)
        (root / "train" / place).write_bytes(b"x")
    dataset = open_image_folder("imagefolder", root, "train")
    assert dataset.class_names == ("blue", "green", "red") and len(dataset) == 48


def test_an_empty_class_folder_is_an_error_of_the_training_split_alone(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    for split in ("train", "val"):
        (root / split / "yellow").mkdir()
    assert open_image_folder("imagefolder", root, "val").class_names[-1] == "yellow"
    with pytest.raises(DatasetError, match="yellow has no image"):
        open_image_folder("imagefolder", root, "train")
    (tmp_path / "other" / "test" / "a").mkdir(parents=True)
    with pytest.raises(DatasetError, match="has no images"):
        open_image_folder("imagefolder", tmp_path / "other", "test")
