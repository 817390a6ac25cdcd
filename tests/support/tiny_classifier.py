"""A small PeleeNet with random weights that are not degenerate, in files."""

from pathlib import Path

import cv2
import numpy as np
import torch

from data.images.image_io import write_image
from pelee.models.peleenet import PeleeNet, PeleeNetConfig
from pelee.training.trainer import to_tensors
from weights.card import Card
from weights.store import ModelFile, save_model

SIZE = 64
NAMES = [f"class {label}" for label in range(7)]
CONFIG = PeleeNetConfig(blocks=(1, 1, 1, 1), growth_rate=8, stem_channels=8)


def save_small(folder: Path, seed: int = 0) -> ModelFile:
    """Write the model's folder: batch norms that are not all alike, and probabilities that differ."""
    torch.manual_seed(seed)
    network = PeleeNet(len(NAMES), CONFIG)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 2:
                tensor.normal_(0, 0.2)
    card = Card(
        name="small",
        task="classification",
        architecture="peleenet",
        architecture_settings={"blocks": CONFIG.blocks, "growth_rate": 8, "stem_channels": 8},
        class_names=NAMES,
        input_size=SIZE,
    )
    return save_model(folder, to_tensors(network), card, half=False)


def pictures(count: int) -> np.ndarray:
    """(count, SIZE, SIZE, 3) uint8: smooth ones, as photos are, each another."""
    coarse = np.random.default_rng(count).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for image in coarse])


def save_pictures(folder: Path, count: int) -> Path:
    """Write `pictures(count)` as files; returns the folder."""
    for number, image in enumerate(pictures(count)):
        write_image(folder / f"{number}.png", image)
    return folder
