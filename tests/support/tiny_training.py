"""Classifier trainings of a second: a network of two convolutions, a dozen images of two classes."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.classification.image_folder import open_image_folder
from data.images.image_io import write_image
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.lightning_module import ClassifierModule, train
from pelee.classification.training.settings import ClassifierSettings
from pelee.models.layers import Normalize

STEPS = 3  # per epoch, with batches of 4


class SmallNet(nn.Module):
    """Two convolutions with batch norm, dropout, a linear head; registered in another order than they run."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.first = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1, bias=False), nn.Dropout(0.2))
        self.head = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norms[0](self.first(self.normalize(images))).relu()
        x = self.norms[1](self.second(x)).relu()
        return self.head(x.mean((2, 3)))


def small_sets(root: Path) -> tuple[ImageBatches, ImageBatches]:
    """Twelve images of 16×16, dark and bright, and four for validation."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for name, gray in (("bright", 160), ("dark", 60)):
            for number in range(count):
                image = rng.integers(gray - 40, gray + 40, (16, 16, 3), dtype=np.uint8)
                write_image(root / split / name / f"{number}.png", image)
    train_set, val_set = (ImageBatches(open_image_folder("imagefolder", root, split), 16) for split in ("train", "val"))
    return train_set, val_set


def small_settings(**changes: Any) -> ClassifierSettings:
    defaults: dict[str, Any] = {"batch_size": 4, "input_size": 16, "precision": "fp32", "lr": 0.01, "epochs": 4}
    return ClassifierSettings(**(defaults | changes))


def run_small(
    sets: tuple[ImageBatches, ImageBatches],
    output: Path,
    settings: ClassifierSettings,
    network: nn.Module | None = None,
    **options: Any,
) -> ClassifierModule:
    """Train from a fixed seed; returns the module with its trainer."""
    torch.manual_seed(0)
    network = network or SmallNet()
    module, _ = train(network, settings, *sets, output, accelerator="cpu", progress=False, **options)
    return module


def all_but_head(network: nn.Module) -> Collection[str]:
    return [name for name in network.state_dict() if not name.startswith("head.")]


class Stop(Exception):
    """Interrupts a training."""


def watch(patch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[float]:
    """Record the learning rate of each following step in the returned list; raise `Stop` at step `stop_at`."""
    rates: list[float] = []

    def record(self: ClassifierModule, batch: Any, batch_idx: int) -> None:
        if batch.step == stop_at:
            raise Stop
        rates.append(self.trainer.optimizers[0].param_groups[-1]["lr"])

    patch.setattr(ClassifierModule, "on_train_batch_start", record)
    return rates


def save_teacher(folder: Path) -> Path:
    """Write a random state dict of torchvision's MobileNetV3-Small for seven classes; returns the file."""
    import torchvision

    torch.manual_seed(0)
    file = folder / "mobilenet.pth"
    torch.save(torchvision.models.mobilenet_v3_small(num_classes=7).state_dict(), file)
    return file
