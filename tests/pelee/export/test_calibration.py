"""Calibration images: choice, size, and source."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import DatasetError, ImageError
from data.images.image_io import write_image
from pelee.export.calibration import calibrate_on, choose, read_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        write_image(tmp_path / f"{number}.png", np.full((20, 30 + number, 3), 40 * number, np.uint8))
    return tmp_path


def test_choice_is_the_same_every_time_and_in_order() -> None:
    paths = [Path(str(number)) for number in range(9)]
    chosen = choose(paths, 4)
    assert len(chosen) == 4 and chosen == sorted(chosen) == choose(paths, 4) != paths[:4]
    assert choose(paths, 20) == paths


def test_inputs_have_the_size_of_the_network(folder: Path) -> None:
    (image,) = read_inputs([folder / "2.png"], 16)
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8 and (image == 80).all()


def test_images_of_a_folder_and_of_a_list(folder: Path) -> None:
    of_folder = calibrate_on(folder, 16, count=3)
    assert of_folder.source == folder.name and len(of_folder.images) == 3
    of_list = calibrate_on(sorted(folder.iterdir()), 16, "voc val")
    assert of_list.source == "voc val" and [int(image[0, 0, 0]) for image in of_list.images] == [0, 40, 80, 120, 160]


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder, expected one with images to calibrate int8 on"):
        calibrate_on(tmp_path / "absent", 16)
    with pytest.raises(ImageError, match="no images"):
        calibrate_on(tmp_path, 16)
