"""What Lightning's training loop lacks here: checkpoints that are whole, and a plateau schedule that can be resumed."""

import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from data.atomic_files import atomic_path


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or as they were before.

    Lightning's own are written to the system's folder for temporary files and moved; from another file system that
    is a copy, and a kill in the midst of it leaves half a checkpoint in the place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch.save tells a full disk as a RuntimeError; a plain write as what it is
        torch.save(checkpoint, content)
        with atomic_path(path) as aside:
            aside.write_bytes(content.getbuffer())


class StepCheckpoint(ModelCheckpoint):
    """A checkpoint every so many steps, but not at an epoch's last one.

    From there a run would go on without the validation that ends the epoch; the checkpoint that follows it is kept.
    """

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args, **kwargs)


class Plateau(Callback):
    """torch's ReduceLROnPlateau, stepped with the monitored score, higher is better, as soon as it is known.

    Lightning's own support steps it after the checkpoint that ends the epoch, so that a run resumed from there has
    missed a step.

    Args:
        monitor: the logged value.
        factor: what every group's rate is multiplied by.
        patience: validations without a better score that are passed over; the next such one lowers the rate.
    """

    def __init__(self, monitor: str, factor: float, patience: int) -> None:
        self.monitor, self.factor, self.patience = monitor, factor, patience
        self.schedule: ReduceLROnPlateau | None = None
        self.restored: dict[str, Any] = {}  # a checkpoint's, which is read before there is an optimiser

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        self.schedule = ReduceLROnPlateau(optimizer, mode="max", factor=self.factor, patience=self.patience)
        self.schedule.load_state_dict(self.restored)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and self.schedule is not None:  # else `fit` measures what came out
            self.schedule.step(float(trainer.callback_metrics[self.monitor]))

    def state_dict(self) -> dict[str, Any]:
        return self.restored if self.schedule is None else self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restored = state_dict
