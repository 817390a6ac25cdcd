"""Crops and erased backgrounds."""

from pathlib import Path

import numpy as np
import pytest

from data.augmentation.geometry import MEAN_COLOR
from data.classification.object_crop import WHOLE_IMAGE, ObjectCrop
from data.errors import ImageError
from tests.support.stanford_cars_files import (
    BOXES,
    CORNERS,
    INSIDE,
    OUTSIDE,
    make_image,
)


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
