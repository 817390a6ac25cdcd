"""Callbacks and plugins for Lightning: atomic checkpoints, checkpoints by step, plateau schedule, weight averaging."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from data.atomic_files import atomic_path


class AtomicCheckpoints(TorchCheckpointIO):
    """Atomic checkpoints: a kill while one is written leaves the previous one.

    Lightning writes its checkpoints to the system's folder for temporary files and moves them. From another file
    system that is a copy, and a kill during the copy leaves half a checkpoint in the place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # of a full disk torch.save makes a RuntimeError, write_bytes an OSError
        torch.save(checkpoint, content)
        with atomic_path(path) as aside:
            aside.write_bytes(content.getbuffer())


class StepCheckpoint(ModelCheckpoint):
    """Checkpoint every N steps, except at the last step of an epoch.

    A run resumed from there would miss the validation at the end of the epoch; the checkpoint after the validation
    takes its place.
    """

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args, **kwargs)


class Plateau(Callback):
    """Plateau schedule: torch's ReduceLROnPlateau, stepped with the monitored score at the end of each validation.

    Lightning steps its own after the checkpoint at the end of the epoch, so that a run resumed from there has missed
    a step.

    Args:
        monitor: name of the logged score; higher is better.
        factor: factor of the learning rate of every group.
        patience: validations without a better score that are tolerated; the next one lowers the rate.
    """

    def __init__(self, monitor: str, factor: float, patience: int) -> None:
        self.monitor, self.factor, self.patience = monitor, factor, patience
        self.schedule: ReduceLROnPlateau | None = None
        self.restored: dict[str, Any] = {}  # state of a checkpoint, which is read before the optimizer exists

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        self.schedule = ReduceLROnPlateau(optimizer, mode="max", factor=self.factor, patience=self.patience)
        self.schedule.load_state_dict(self.restored)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # not in the validations after training, which `fit` makes
        if trainer.state.fn == TrainerFn.FITTING and self.schedule is not None:
            self.schedule.step(float(trainer.callback_metrics[self.monitor]))

    def state_dict(self) -> dict[str, Any]:
        return self.restored if self.schedule is None else self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restored = state_dict


def average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return the update of an exponential moving average (EMA) of the weights.

    Its decay rises with the updates n as (1 + n) / (10 + n) up to `decay`.

    With the full decay from the start, the average after a fine-tuning of 100 steps would be near the first weights.
    """

    def update(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        n = torch.as_tensor(updates)
        return averaged + (current - averaged) * (1 - ((1 + n) / (10 + n)).clamp(max=decay))

    return update
