"""Augmentation of training batches on the training device: crop, flip, policy, named transforms, erasing, mixing."""

import math

import torch
from torch import Tensor
from torchvision.transforms import v2

from pelee.classification.training.settings import ClassifierSettings
from pelee.classification.training.transforms import GROUP, affine, change_pixels, sample, window


def random_resized_crop(images: Tensor, size: int, min_scale: float, flip: float = 0.5) -> Tensor:
    """Crop each image of a batch at random, flip some horizontally, and resize to size×size.

    Args:
        images: (N, 3, H, W) uint8 or float.
        min_scale: smallest share of the area that a crop keeps, at aspect ratios 3/4 to 4/3; 1 keeps the whole image.
        flip: probability of a horizontal flip.

    Returns:
        (N, 3, size, size) float32, in the range of the input.
    """
    return sample(images, random_windows(len(images), min_scale, flip), size)


def random_windows(n: int, min_scale: float, flip: float) -> Tensor:
    """The crops of `random_resized_crop` as matrices (n, 3, 3) from output to input coordinates, -1 to 1."""
    area = torch.empty(n).uniform_(min_scale, 1)
    ratio = torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3)).exp() if min_scale < 1 else torch.ones(n)
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    mirror = 1 - 2 * (torch.rand(n) < flip).float()
    x = torch.empty(n).uniform_(-1, 1) * (1 - width)
    y = torch.empty(n).uniform_(-1, 1) * (1 - height)
    return window(x, y, width * mirror, height)


class Augmentation:
    """Augmentation of a training batch, as the settings configure it."""

    def __init__(self, settings: ClassifierSettings) -> None:
        self.settings = settings
        policies = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}
        self.policy = policies[settings.policy]() if settings.policy != "none" else None
        self.erase = v2.RandomErasing(p=1.0)
        self.mixes = [
            mix(alpha=alpha) for mix, alpha in ((v2.MixUp, settings.mixup), (v2.CutMix, settings.cutmix)) if alpha > 0
        ]

    def __call__(self, images: Tensor, targets: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: (N, 3, H, W) uint8.
            targets: (N, K) float; MixUp and CutMix mix them like the images.
            size: side of the returned images, pixels.

        Returns:
            (N, 3, size, size) float32, 0 to 255, channels-last, and the targets (N, K).
        """
        settings = self.settings
        if self.policy is not None:
            images = torch.cat([self.policy(group) for group in images.split(GROUP)])
        matrix = random_windows(len(images), settings.crop_scale, settings.flip)
        chosen = torch.zeros(len(images), dtype=torch.bool)
        if settings.transforms:
            chosen = torch.rand(len(images)) < settings.transform_share
            # Combined with the crop, so that the pixels are sampled once.
            moved = matrix @ affine(settings.transforms, len(images))
            matrix = torch.where(chosen[:, None, None], moved, matrix)
        images = sample(images, matrix, size)
        if chosen.any():
            chosen = chosen.to(images.device)
            images[chosen] = change_pixels(settings.transforms, images[chosen])
        if settings.erasing:
            for place in torch.nonzero(torch.rand(len(images)) < settings.erasing).flatten().tolist():
                images[place] = self.erase(images[place])
        if self.mixes:
            mix = self.mixes[int(torch.randint(len(self.mixes), ()))]
            images, targets = mix(images, targets)
        return images.contiguous(memory_format=torch.channels_last), targets
