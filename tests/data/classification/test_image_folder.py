"""Classification datasets with and without boxes."""

from pathlib import Path

import pytest

from data.classification.image_folder import open_image_folder
from data.classification.object_crop import ObjectCrop
from data.errors import SettingsError
from data.images.image_io import write_image
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
