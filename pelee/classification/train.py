"""Train a PeleeNet classifier on a folder of pictures a class: the backbone that the detector starts from."""

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from data.command import run
from pelee.classification.pictures import CachedFolder
from pelee.networks.peleenet import PeleeNet, PeleeNetConfig
from pelee.training import (
    OptimizationSettings,
    build_optimizer,
    build_trainer,
    current_commit,
    to_tensors,
    with_schedule,
)
from weights.card import Card
from weights.store import ModelFile, save_model


@dataclass(kw_only=True)
class ClassifierSettings(OptimizationSettings):
    """Settings of a classifier's training.

    Attributes:
        input_sizes: (pixels, epochs) phases; the size grows while training, which costs less and learns as much.
        picture_size: pixels at which the pictures are held in memory.
        crop_scale: smallest share of a picture's area that a random crop keeps.
        label_smoothing: share of the target that is spread over all classes.
    """

    batch_size: int = 128
    lr: float = 0.1
    nesterov: bool = True
    weight_decay: float = 1e-4
    warmup_steps: int = 300
    ema_decay: float = 0.999
    input_sizes: tuple[tuple[int, int], ...] = ((64, 5), (96, 3))
    picture_size: int = 64
    crop_scale: float = 0.25
    label_smoothing: float = 0.1


def random_resized_crop(images: Tensor, size: int, min_scale: float) -> Tensor:
    """Crop every picture of a batch at random, mirror half of them, and scale to size×size.

    Args:
        images: (N, 3, H, W) uint8 or float.
        min_scale: each crop keeps between this share of the area and all of it, at ratios 3/4 to 4/3.

    Returns:
        (N, 3, size, size) float32, in the range of the input.
    """
    n = len(images)
    area = torch.empty(n).uniform_(min_scale, 1)
    ratio = torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3)).exp()
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = width * (torch.randint(0, 2, (n,)) * 2 - 1)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = torch.empty(n).uniform_(-1, 1) * (1 - width)
    theta[:, 1, 2] = torch.empty(n).uniform_(-1, 1) * (1 - height)
    grid = F.affine_grid(theta.to(images.device), [n, 3, size, size], align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


class ClassifierTraining(pl.LightningModule):
    """One classifier in training: cross-entropy with label smoothing, top-1 and top-5 on the held-out pictures."""

    def __init__(self, model: nn.Module, settings: ClassifierSettings) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.settings = settings

    @property
    def input_size(self) -> int:
        """The input size of the current epoch."""
        sizes = [size for size, epochs in self.settings.input_sizes for _ in range(epochs)]
        return sizes[min(self.current_epoch, len(sizes) - 1)]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        with torch.autocast(self.device.type, enabled=False):
            images = random_resized_crop(images, self.input_size, self.settings.crop_scale)
        logits = self.model(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.settings.label_smoothing)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        size = self.settings.input_sizes[-1][0]
        images = F.interpolate(images.float(), (size, size), mode="bilinear", align_corners=False)
        logits = self.model(images.contiguous(memory_format=torch.channels_last))
        top5 = logits.topk(min(5, logits.shape[1])).indices
        hits = top5 == labels[:, None]
        self.log("val/top1", hits[:, 0].float().mean(), prog_bar=True, batch_size=len(labels))
        self.log("val/top5", hits.any(1).float().mean(), prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = build_optimizer(self.parameters(), self.settings)
        return with_schedule(optimizer, int(self.trainer.estimated_stepping_batches), self.settings)


def train_classifier(root: Path, output: Path, settings: ClassifierSettings, resume: bool = False) -> ModelFile:
    """Train PeleeNet on `root/train`, measure it on `root/val`, and write the best weights as a model folder.

    Checkpoints and logs go to `output`, the model to `output/model`.
    """
    pl.seed_everything(settings.seed)
    settings.epochs = sum(epochs for _, epochs in settings.input_sizes)
    train, val = (CachedFolder(root / split, settings.picture_size) for split in ("train", "val"))
    collate = lambda batch: batch  # noqa: E731 - a fetched batch is a batch already
    train_loader = DataLoader(train, settings.batch_size, shuffle=True, drop_last=True, collate_fn=collate)
    val_loader = DataLoader(val, settings.batch_size, collate_fn=collate)
    module = ClassifierTraining(PeleeNet(len(train.class_names)), settings)
    trainer = build_trainer(settings, output, monitor="val/top1")
    last = str(output / "last.ckpt") if resume else None
    trainer.fit(module, train_loader, val_loader, ckpt_path=last, weights_only=True)
    return write_model(module, root, output, train, val_loader)


def write_model(
    module: ClassifierTraining, root: Path, output: Path, train: CachedFolder, val_loader: DataLoader[Any]
) -> ModelFile:
    """Write the weights of `output/best.ckpt` to `output/model`, with the scores that they reach now."""
    checkpoint = torch.load(output / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    (scores,) = trainer.validate(module, val_loader, verbose=False)
    settings = module.settings
    command = f"python -m pelee.classification.train {root.name} {output.name}"
    card = Card(
        name=output.name,
        task="classification",
        architecture="peleenet",
        architecture_settings=dataclasses.asdict(PeleeNetConfig()),
        class_names=train.class_names,
        input_size=settings.input_sizes[-1][0],
        training={
            "command": command,
            "commit": current_commit(),
            "settings": dataclasses.asdict(settings),
            "data": f"{root.name} train: {len(train)} pictures",
            "started_from": None,
        },
        scores=[
            {
                "metric": metric,
                "value": round(100 * scores[f"val/{metric}"], 2),
                "split": "val",
                "command": command,
                "pictures": len(val_loader.dataset),  # type: ignore[arg-type]
            }
            for metric in ("top1", "top5")
        ],
    )
    return save_model(output / "model", to_tensors(module.model), card)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m pelee.classification.train ROOT OUTPUT [--resume]`: a backbone by the default settings."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("root", type=Path, help="folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("output", type=Path, help="checkpoints, logs and the model")
    parser.add_argument("--resume", action="store_true", help="go on from OUTPUT/last.ckpt")
    options = parser.parse_args(argv)

    def body() -> int:
        model = train_classifier(options.root, options.output, ClassifierSettings(), options.resume)
        scores = ", ".join(f"{score['metric']} {score['value']}" for score in model.card.scores)
        print(f"model: {model.path.parent} ({scores} on {options.root.name} val)")
        return 0

    return run(body)


if __name__ == "__main__":
    sys.exit(main())
