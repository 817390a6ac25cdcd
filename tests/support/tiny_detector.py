"""A small detector with random weights that are not degenerate, in files."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from data.images.image_io import write_image
from detection.models.loading import to_settings
from detection.models.network import DetectorConfig
from detection.models.pelee import PeleeConfig
from detection.models.registry import build
from pelee.models.peleenet import PeleeNetConfig
from weights.card import Card
from weights.store import ModelFile, save_model

SIZE = 64
CONFIG = PeleeConfig(
    num_classes=3,
    input_size=SIZE,
    backbone=PeleeNetConfig(blocks=(1, 1, 1, 1), growth_rate=8, stem_channels=8),
)
PRIORS = (16 + 16 + 4 + 1 + 1 + 1) * 6


def save_small(folder: Path, seed: int = 0, config: DetectorConfig = CONFIG) -> ModelFile:
    """Write the model's folder: batch norms that are not the identity, and scores that differ."""
    torch.manual_seed(seed)
    network = build(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    card = Card(
        "small", "detection", config.architecture, ["a", "b", "c"], config.input_size,
        architecture_settings=to_settings(config),
    )  # fmt: skip
    return save_model(folder, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, card)


def pictures(count: int, size: int = SIZE) -> np.ndarray:
    """(count, size, size, 3) uint8: smooth ones, as photos are, each another."""
    rng = np.random.default_rng(count)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 6, 6)))
    fine = nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255)
    return fine.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def save_pictures(folder: Path, count: int) -> Path:
    """Write `pictures(count)` as files; returns the folder."""
    for number, image in enumerate(pictures(count)):
        write_image(folder / f"{number}.png", image)
    return folder
