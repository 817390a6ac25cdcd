"""Callbacks and plugins for Lightning: checkpoints, time limit, plateau schedule, weight averaging."""

import io
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from data.atomic_files import atomic_path
from pelee.training.resume import forget_folder, load_checkpoint, restore_folder


class AtomicCheckpoints(TorchCheckpointIO):
    """Atomic checkpoints: a kill while one is written leaves the previous one.

    Lightning writes its checkpoints to the system's folder for temporary files and moves them. From another file
    system that is a copy, and a kill during the copy leaves half a checkpoint in the place of the last good one.
    Checkpoints name each other without their folder, so that a run's folder may be moved and copied.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        forget_folder(checkpoint)
        content = io.BytesIO()  # of a full disk torch.save makes a RuntimeError, write_bytes an OSError
        torch.save(checkpoint, content)
        with atomic_path(path) as aside:
            aside.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        checkpoint = load_checkpoint(Path(path))
        restore_folder(checkpoint, Path(path).resolve().parent)
        return checkpoint


class StepCheckpoint(ModelCheckpoint):
    """Checkpoint every N steps or minutes, except at the last step of an epoch.

    A run resumed from there would miss the validation at the end of the epoch; the checkpoint after the validation
    takes its place.
    """

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args, **kwargs)


class TrainingBar(TQDMProgressBar):
    """Progress bar with the loss: updated at each of the first 20 steps, then at every tenth."""

    @property
    def refresh_rate(self) -> int:
        first = self._trainer is not None and self._trainer.global_step < 20
        return 1 if first else 10


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


def average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Return the update of an exponential moving average (EMA) of the weights.

    Its decay rises with the updates n as (1 + n) / (10 + n) up to `decay`. With the full decay from the start, the
    average after a fine-tuning of 100 steps would be near the first weights.

    The tensors of a call have one type. They are updated in place and together, by few kernels on a GPU.
    """

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        n = torch.as_tensor(updates)
        weight = 1 - ((1 + n) / (10 + n)).clamp(max=decay)
        if averaged[0].is_floating_point():
            change = torch._foreach_sub(list(current), list(averaged))
            torch._foreach_mul_(change, weight)
            torch._foreach_add_(list(averaged), change)
        else:  # the counters of batch norm
            for old, new in zip(averaged, current, strict=True):
                old.copy_(old + (new - old) * weight)

    return update


class MovingAverage(WeightAveraging):
    """Moving average of the weights on the device of the training; see `average`.

    Lightning's own callback copies the module before that is moved to its device, and would average on the CPU.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=average(decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            # Torch compares this number with 0 at every step, for which a GPU would be synchronized.
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()


class TimeLimit(Callback):
    """Stops a training after some minutes, at a checkpoint from which it can be resumed.

    Args:
        minutes: time from the start of the training.
        path: file of the checkpoint.
    """

    def __init__(self, minutes: float, path: Path) -> None:
        self.minutes, self.path = minutes, path
        self.deadline = math.inf
        self.inside_epoch = False  # stopped before the end of an epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.deadline = time.monotonic() + 60 * self.minutes

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        late = time.monotonic() >= self.deadline
        if trainer.world_size > 1:
            late = trainer.strategy.reduce_boolean_decision(late, all=False)
        if late and not trainer.should_stop:
            trainer.should_stop = True
            if not trainer.is_last_batch:
                self.inside_epoch = True
                trainer.save_checkpoint(self.path)
                # No validation at this step: it would replace the best checkpoint without a trace in the one above.
                trainer.check_val_every_n_epoch = sys.maxsize


class EpochCheckpoint(ModelCheckpoint):
    """Checkpoint at the end of each epoch.

    Args:
        folder, filename: place of the checkpoint.
        limit: a time limit, whose checkpoint is kept if it stops the run inside an epoch: one that is written after the
            end of the epoch would be resumed with the next.
    """

    def __init__(self, folder: Path, filename: str, limit: TimeLimit | None) -> None:
        super().__init__(
            folder,
            filename=filename,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            save_top_k=1,
            enable_version_counter=False,
        )
        self.limit = limit

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.limit is None or not self.limit.inside_epoch:
            super().on_train_epoch_end(trainer, pl_module)
