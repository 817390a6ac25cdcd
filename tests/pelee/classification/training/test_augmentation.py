"""Augmentation of training batches: crop, flip, MixUp, CutMix, erasing, policies."""

import dataclasses

import pytest
import torch

from pelee.classification.training.augmentation import Augmentation, random_resized_crop
from pelee.classification.training.settings import ClassifierSettings


def test_random_resized_crop_keeps_colors_and_shows_a_part() -> None:
    gradient = torch.linspace(0, 255, 64).expand(8, 3, 64, 64)
    torch.manual_seed(0)
    crops = random_resized_crop(gradient, 32, 0.25)
    assert crops.shape == (8, 3, 32, 32)
    assert crops.min() >= 0 and crops.max() <= 255
    spans = crops.amax((1, 2, 3)) - crops.amin((1, 2, 3))
    # at least a quarter of the area at a ratio of 3/4 at the least: sqrt(0.25 * 3/4) = 0.43 of the width
    assert (spans > 0.40 * 255).all() and (spans < 255).any()
    rising = crops[:, 0, 0, -1] > crops[:, 0, 0, 0]
    assert rising.any() and not rising.all()  # some are flipped


def test_random_resized_crop_without_crop_and_flip_is_the_identity() -> None:
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    assert torch.allclose(random_resized_crop(images, 16, 1.0, flip=0.0), images.float(), atol=1e-2)


def augmented(**changes: float | str) -> tuple[torch.Tensor, torch.Tensor]:
    settings = dataclasses.replace(ClassifierSettings(), crop_scale=1.0, flip=0.0, **changes)
    torch.manual_seed(3)
    images = torch.full((16, 3, 32, 32), 200, dtype=torch.uint8)
    images[8:] = 40
    return Augmentation(settings)(images, torch.eye(2)[[0] * 8 + [1] * 8], 32)


def test_mixup_mixes_images_and_targets_by_one_share() -> None:
    images, targets = augmented(mixup=1.0)
    # An image's gray level is linear in its share of the bright class: 200 for 1, 40 for 0.
    assert torch.allclose((images.mean((1, 2, 3)) - 40) / 160, targets[:, 0], atol=1e-3)
    assert torch.allclose(targets.sum(1), torch.ones(16))
    assert ((targets > 0.01) & (targets < 0.99)).any()


def test_cutmix_targets_are_the_area_of_the_rectangle() -> None:
    images, targets = augmented(cutmix=1.0)
    assert torch.allclose((images > 120).float().mean((1, 2, 3)), targets[:, 0], atol=1e-3)
    assert ((targets > 0.01) & (targets < 0.99)).any()


def test_erasing_blackens_a_part_of_some_images() -> None:
    images, targets = augmented(erasing=0.5)
    erased = (images == 0).flatten(1).any(1)
    assert 2 < erased.sum() < 14
    share = (images[erased] == 0).float().mean((1, 2, 3))
    assert (share > 0.01).all() and (share < 0.4).all()
    assert torch.equal(targets, torch.eye(2)[[0] * 8 + [1] * 8])


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_policy_changes_images_and_keeps_their_range(policy: str) -> None:
    settings = dataclasses.replace(ClassifierSettings(), crop_scale=1.0, flip=0.0, policy=policy)
    torch.manual_seed(3)
    images = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8)
    changed, _ = Augmentation(settings)(images, torch.zeros(32, 2), 16)
    assert changed.shape == (32, 3, 16, 16) and changed.min() >= 0 and changed.max() <= 255
    same = [torch.allclose(a, b.float(), atol=0.1) for a, b in zip(changed, images, strict=True)]
    assert sum(same) < 24
