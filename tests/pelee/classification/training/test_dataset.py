"""Batches of a classification dataset, cached and not."""

from pathlib import Path

import pytest
import torch

from data.classification.image_folder import open_image_folder
from data.errors import DatasetError
from pelee.classification.training.dataset import ImageBatches
from tests.support.color_folders import COLORS, make_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("data") / "colors")


@pytest.mark.parametrize("cached", [True, False])
def test_images_are_warped_and_labeled(folders: Path, cached: bool) -> None:
    batches = ImageBatches(open_image_folder("imagefolder", folders, "train"), 16, cached)
    batch = batches[7, [0, 17, 40]]
    assert batch.images.shape == (3, 3, 16, 16) and batch.images.dtype == torch.uint8
    assert batch.labels.tolist() == [0, 1, 2] and batch.places.tolist() == [0, 17, 40] and batch.step == 7
    for image, color in zip(batch.images, COLORS.values(), strict=True):
        assert torch.allclose(image.float().mean((1, 2)), torch.tensor(color).float(), atol=8)


@pytest.mark.parametrize("cached", [True, False])
def test_unreadable_image_is_skipped_and_listed(tmp_path: Path, cached: bool) -> None:
    make_folders(tmp_path, 3)
    (tmp_path / "train" / "blue" / "1.png").write_bytes(b"not an image")
    batches = ImageBatches(open_image_folder("imagefolder", tmp_path, "train"), 16, cached)
    batch = batches[0, [0, 1, 5]]
    assert batch.labels.tolist() == [0, 1] and batch.places.tolist() == [0, 5]
    assert len(batch.unreadable) == 1 and "1.png" in batch.unreadable[0]


def test_dataset_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "x.jpg").write_bytes(b"not an image")
    with pytest.raises(DatasetError, match="not one image"):
        ImageBatches(open_image_folder("imagefolder", tmp_path, "train"), 16, True)
