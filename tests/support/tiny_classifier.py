"""A small PeleeNet with non-degenerate random weights, and images, in files."""

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
    """Write the model's folder: batch norms with different variances, and distinct probabilities."""
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


def make_images(count: int) -> np.ndarray:
    """(count, SIZE, SIZE, 3) uint8: smooth like photos, all different."""
    coarse = np.random.default_rng(count).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for image in coarse])


def save_images(folder: Path, count: int) -> Path:
    """Write `make_images(count)` as PNG files; returns the folder."""
    for number, image in enumerate(make_images(count)):
        write_image(folder / f"{number}.png", image)
    return folder
