"""A folder of images without boxes."""

from pathlib import Path

import numpy as np
import pytest

from data.datasets.registry import open_dataset
from data.errors import DatasetError, ImageError
from data.images.image_io import write_image


def test_images_without_boxes(tmp_path: Path) -> None:
    for name in ("b.jpg", "sub/a.png"):
        write_image(tmp_path / name, np.zeros((5, 9, 3), dtype=np.uint8))
    dataset = open_dataset("folder", tmp_path, "all")
    assert [record.image_id for record in dataset.records] == ["b.jpg", "sub/a.png"]
    assert all(record.size == (9, 5) and record.boxes.shape == (0, 4) for record in dataset.records)
    assert dataset.class_names == ()
    assert [record.image_id for record in open_dataset("folder", tmp_path, "sub").records] == ["sub/a.png"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no images"):
        open_dataset("folder", tmp_path, "all")
    with pytest.raises(DatasetError, match="val: no such folder"):
        open_dataset("folder", tmp_path, "val")
