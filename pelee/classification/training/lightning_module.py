"""Training a classifier on PyTorch Lightning: any network of the registry, alone or after a teacher."""

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from data.errors import DatasetError, SettingsError
from pelee.classification.training.augmentation import Augmentation
from pelee.classification.training.dataset import ClassificationBatch, ImageBatches
from pelee.classification.training.distillation import classifier_input, distillation_loss
from pelee.classification.training.sampler import ResumableBatchSampler, sequential_batches
from pelee.classification.training.settings import ClassifierSettings
from pelee.training.finetuning import freeze, parameter_groups, split, summary
from pelee.training.optimization import RESUMABLE, build_optimizer
from pelee.training.recipes import check_resumed, to_plain
from pelee.training.schedules import with_schedule
from pelee.training.trainer import build_trainer, fit

MONITOR = "val/top1"


class ClassifierModule(pl.LightningModule):
    """One classifier in training: cross-entropy, a teacher's part where there is one, top-1 and top-5 on the held-out
    pictures.

    A network may give auxiliary logits beside its own in training mode, (N, K) each; they have a loss of their own.

    Args:
        taught: (N, K) what a teacher says of every training picture, logits; None for no teacher.
        taken: names of the network's tensors that other weights filled, which `freeze`, `unfreeze_from` and
            `pretrained_lr` are about.

    Raises:
        SettingsError: a teacher for a network without a linear layer, or what `pelee.training.finetuning.split` raises.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: ClassifierSettings,
        train: ImageBatches,
        val: ImageBatches,
        taught: Tensor | None = None,
        taken: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.settings = settings
        self.train_set, self.val_set = train, val
        self.augment = Augmentation(settings)
        self.taught = taught  # not a buffer: it is data, and no part of a checkpoint
        self.student_head: nn.Linear | None = None
        if taught is not None:
            linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
            if not linear:
                raise SettingsError("the network has no linear layer that a teacher's head could stand beside")
            self.student_head = nn.Linear(linear[-1].in_features, taught.shape[1])
        self.total_steps = settings.total_steps(len(train.pictures))
        self.unreadable: set[str] = set()
        self.validated_step: int | None = None
        self.parts = split(network, taken, settings.freeze, settings.unfreeze_from, settings.input_size)
        self.frozen = freeze(network, self.parts.frozen)
        self.train()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    # Data

    def train_dataloader(self) -> DataLoader[Any]:
        order = ResumableBatchSampler(
            len(self.train_set.pictures),
            self.settings.batch_size,
            self.settings.seed,
            lambda: self.trainer.global_step,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return DataLoader(
            self.train_set,
            batch_size=None,
            sampler=order,
            num_workers=self.settings.workers,
            pin_memory=self.device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader[Any]:
        share = sequential_batches(
            len(self.val_set.pictures), 2 * self.settings.batch_size, self.trainer.global_rank, self.trainer.world_size
        )
        return DataLoader(
            self.val_set,
            batch_size=None,
            sampler=share,
            num_workers=self.settings.workers,
        )

    # Steps

    def on_fit_start(self) -> None:
        if self.settings.compile:
            self.network.compile()

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor | None:
        self.unreadable.update(batch.unreadable)
        if len(batch.labels) < 2:  # too few for batch norm
            return None
        settings = self.settings
        # So that a step's crops, drops and mixes are the same whether or not the run was interrupted before it.
        torch.manual_seed((settings.seed * 1_000_003 + batch.step) * 1_000 + self.global_rank)
        targets = F.one_hot(batch.labels, len(self.train_set.pictures.class_names)).float()
        classes = targets.shape[1]
        if self.taught is not None:
            said = self.taught[batch.places.cpu()].to(self.device).float()
            targets = torch.cat([targets, (said / settings.temperature).softmax(1)], 1)
        with torch.autocast(self.device.type, enabled=False):
            size = settings.size_at(batch.step / self.total_steps)
            images, targets = self.augment(batch.images, targets, size)
        taught: AbstractContextManager[list[Tensor]] = nullcontext([])
        if self.student_head is not None:
            taught = classifier_input(self.network)
        with taught as seen:
            outputs = self.network(images)
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss, *others = (
            F.cross_entropy(each.float(), targets[:, :classes], label_smoothing=settings.label_smoothing)
            for each in (logits, *auxiliary)
        )
        self.log("train/classes", loss, batch_size=len(images))
        for other in others:
            self.log("train/auxiliary", other, batch_size=len(images))
            loss = loss + settings.auxiliary_weight * other
        if self.student_head is not None:
            follows = distillation_loss(self.student_head(seen[0]).float(), targets[:, classes:], settings.temperature)
            self.log("train/teacher", follows, batch_size=len(images))
            loss = loss + settings.distillation * follows
        self.log("train/loss", loss, prog_bar=True, batch_size=len(images))
        self.log("train/lr", self.trainer.optimizers[0].param_groups[-1]["lr"], batch_size=len(images))
        return loss

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        self.unreadable.update(batch.unreadable)
        if not len(batch.labels):
            return
        size = self.settings.input_size
        images = batch.images.float()
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
        logits = self.network(images.contiguous(memory_format=torch.channels_last))
        hits = logits.topk(min(5, logits.shape[1])).indices == batch.labels[:, None]
        for name, value in ((MONITOR, hits[:, 0]), ("val/top5", hits.any(1))):
            self.log(name, value.float().mean(), prog_bar=True, batch_size=len(batch.labels), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.validated_step = self.global_step

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["settings"] = to_plain(self.settings)
        checkpoint["class_names"] = list(self.train_set.pictures.class_names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_resumed(checkpoint["settings"], self.settings, RESUMABLE)
        if checkpoint["class_names"] != list(self.train_set.pictures.class_names):
            raise SettingsError("the run was begun with other classes than the data set has; begin another")
        if ("student_head.weight" in checkpoint["state_dict"]) != (self.student_head is not None):
            raise SettingsError("the run was begun with a teacher or without one, and must go on so; begin another")

    # Optimisation

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        settings = self.settings
        slow = [one for name, one in self.network.named_parameters() if name in self.parts.pretrained]
        optimizer = build_optimizer(parameter_groups(self, slow, settings.lr, settings.pretrained_lr), settings)
        return with_schedule(optimizer, self.total_steps, settings)


def train(
    network: nn.Module,
    settings: ClassifierSettings,
    train_set: ImageBatches,
    val_set: ImageBatches,
    output: Path,
    *,
    taught: Tensor | None = None,
    taken: Collection[str] = (),
    resume: bool = False,
    devices: int = 1,
    accelerator: str = "auto",
    progress: bool = True,
) -> tuple[ClassifierModule, dict[str, float]]:
    """Train a network; checkpoints and logs go to `output`, and what trains and what is frozen is printed.

    Args:
        taught, taken: see `ClassifierModule`.

    Returns:
        The module with the weights that did best on the held-out pictures, and what these reach there: "top1" and
        "top5", 0 to 1.

    Raises:
        DatasetError: splits of other classes.
        SettingsError: a batch too small for batch norm, a run of other settings, or what `ClassifierModule` raises.
        KeyboardInterrupt: ctrl-C.
    """
    names, others = train_set.pictures.class_names, val_set.pictures.class_names
    if names != others:
        odd = sorted(set(names) ^ set(others))
        raise DatasetError(
            f"split {val_set.pictures.split} has {len(others)} classes, {train_set.pictures.split} {len(names)}; they "
            f"must be the same" + (f", and {odd[0]!r} is in one only" if odd else "")
        )
    smallest = min(settings.batch_size, len(train_set.pictures)) // max(devices, 1)
    if devices < 1 or settings.batch_size % devices or smallest < 2:
        raise SettingsError(
            f"a batch of {settings.batch_size} over {devices} processes and {len(train_set.pictures)} pictures leaves "
            f"{smallest} each; batch norm needs 2, and all the same number"
        )
    module = ClassifierModule(network, settings, train_set, val_set, taught, taken)
    trainer = build_trainer(
        settings, output, monitor=MONITOR, devices=devices, accelerator=accelerator, progress=progress
    )
    if trainer.is_global_zero:
        print(summary(network, module.parts, settings.pretrained_lr))
    fit(trainer, module, output, resume)
    return module, {name: float(trainer.callback_metrics[f"val/{name}"]) for name in ("top1", "top5")}
