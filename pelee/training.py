"""What the trainers of the classifier and of the detector share: optimiser, schedule, Lightning trainer."""

import io
import logging
import math
import subprocess
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pydantic import Field
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from data.errors import SettingsError
from data.files import atomic_path

Precision = Literal["bf16", "fp16", "fp32"]
Schedule = Literal["cosine", "multi-step"]
OptimizerName = Literal["sgd", "adamw"]

LIGHTNING_PRECISION = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


@dataclass(kw_only=True)
class OptimizationSettings:
    """How weights are moved, and for how long. One unit of the schedule is an optimiser step.

    Attributes:
        epochs: passes over the training pictures; fractions are not taken.
        max_steps: stop after so many steps, whatever `epochs` says; None for no such bound.
        batch_size: pictures a step, over all processes together.
        optimizer: "sgd" (with `momentum`, Nesterov if asked) or "adamw".
        lr: the learning rate at the end of the warm-up.
        schedule: "cosine", 0.5 · lr · (cos(π · t / T) + 1), the paper's for PeleeNet; or "multi-step", × `gamma` at
            each of `milestones`.
        milestones: shares of the whole schedule, 0 to 1, at which multi-step drops.
        warmup_steps: steps over which the rate rises linearly from nearly zero, at most a tenth of the schedule: a
            recipe for large sets must serve small ones, too.
        gradient_clip: largest L2 norm of the gradient; None leaves it.
        ema_decay: decay of the weights' moving average, which is evaluated and saved; 0 for none. Early on it is
            smaller (see `average`).
        input_size: side of the network's input in pixels.
        size_phases: (size, share) pairs: that input size until that share of the schedule is over, `input_size`
            afterwards. Smaller inputs first cost a fraction and learn nearly as much.
        compile: `torch.compile` the network: it costs a minute or two for every input size, and pays on a GPU; on two
            CPU cores a step is a tenth quicker.
        validate_every: epochs from one measurement of the held-out split to the next.
        patience: validations without a better score before the run stops; None never stops early.
        checkpoint_every: steps from one `last.ckpt` to the next, so that a kill loses minutes at most.
        workers: processes that read pictures; 0 reads them in the training's own.
    """

    epochs: Annotated[int, Field(ge=1)] = 1
    max_steps: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 32
    optimizer: OptimizerName = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Schedule = "cosine"
    milestones: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (2 / 3, 5 / 6)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    input_size: int = 304
    size_phases: tuple[tuple[int, Annotated[float, Field(ge=0, le=1)]], ...] = ()
    precision: Precision = "bf16"
    compile: bool = False
    seed: int = 0
    workers: Annotated[int, Field(ge=0)] = 0
    validate_every: Annotated[int, Field(ge=1)] = 1
    patience: Annotated[int, Field(ge=1)] | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] = 500

    def size_at(self, progress: float) -> int:
        """The input size at `progress`, 0 to 1, of the schedule."""
        return next((size for size, until in self.size_phases if progress < until), self.input_size)

    def steps_per_epoch(self, pictures: int) -> int:
        """Batches that an epoch over so many pictures has: a rest is left out, but a small set is one batch."""
        return max(1, pictures // self.batch_size)

    def total_steps(self, pictures: int) -> int:
        """Optimiser steps of a whole run over so many pictures."""
        steps = self.epochs * self.steps_per_epoch(pictures)
        return min(steps, self.max_steps or steps)


# What a run may change when it is resumed: all else would make it another run than the one that was begun.
RESUMABLE = {"workers", "patience", "checkpoint_every", "compile"}


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Sequence[dict[str, Any]], settings: OptimizationSettings
) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over parameters or groups of them."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )


def lr_factor(step: int, total_steps: int, settings: OptimizationSettings) -> float:
    """The share of `settings.lr` that step number `step` (0-based) of `total_steps` takes, 0 to 1."""
    warmup = min(settings.warmup_steps, total_steps // 10)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.schedule == "cosine":
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return 0.5 * (math.cos(math.pi * progress) + 1)
    passed = sum(step >= round(milestone * total_steps) for milestone in settings.milestones)
    return settings.gamma**passed


def with_schedule(
    optimizer: torch.optim.Optimizer, total_steps: int, settings: OptimizationSettings
) -> OptimizerLRSchedulerConfig:
    """An optimiser with its learning-rate schedule, as Lightning takes them: stepped once an optimiser step."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, total_steps, settings))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 1}}


def average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A moving average that follows short runs, too: its decay rises with the updates n as (1 + n) / (10 + n).

    With the full decay from the start, a fine-tuning of a hundred steps would give back little but its first weights.
    """

    def update(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        n = torch.as_tensor(updates)
        return averaged + (current - averaged) * (1 - ((1 + n) / (10 + n)).clamp(max=decay))

    return update


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


@rank_zero_only
def keep_metrics(file: Path) -> None:
    """Put the metrics of an earlier start aside, as metrics-1.csv and so on: Lightning deletes what it finds."""
    if file.is_file():
        number = 1
        while (kept := file.with_stem(f"{file.stem}-{number}")).exists():
            number += 1
        file.rename(kept)


def build_trainer(
    settings: OptimizationSettings,
    output: Path,
    *,
    monitor: str,
    devices: int = 1,
    accelerator: str = "auto",
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> pl.Trainer:
    """A Lightning trainer that logs to `output`, keeps `best.ckpt` and `last.ckpt` there, and resumes from the last.

    `last.ckpt` is written every `checkpoint_every` steps and at every epoch's end.

    Args:
        monitor: the logged value, higher is better, that the best checkpoint and early stopping go by.
        devices: processes; more than one trains with DDP.
    """
    used: list[Callback] = [
        ModelCheckpoint(
            output, filename="best", monitor=monitor, mode="max", save_top_k=1, enable_version_counter=False
        ),
        StepCheckpoint(
            output,
            filename="last",
            every_n_train_steps=settings.checkpoint_every,
            save_top_k=1,
            enable_version_counter=False,
        ),
        ModelCheckpoint(
            output,
            filename="last",
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            save_top_k=1,
            enable_version_counter=False,
        ),
        *callbacks,
    ]
    if settings.ema_decay:
        used.append(WeightAveraging(avg_fn=average(settings.ema_decay)))
    if settings.patience is not None:
        used.append(EarlyStopping(monitor, mode="max", patience=settings.patience))
    if progress:
        used.append(TQDMProgressBar(refresh_rate=10))
    keep_metrics(output / "logs" / "metrics.csv")
    # What it says by itself repeats the settings, advertises, or advises against what is meant here.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # The loaders cannot be resumed; their samplers are, which Lightning does not know.
    for advice in (
        "dataloader is not resumable",
        "exists and is not empty",
        "smaller than the logging interval",
        "does not have many workers",
    ):
        warnings.filterwarnings("ignore", f".*{advice}")
    return pl.Trainer(
        default_root_dir=output,
        max_epochs=settings.epochs,
        max_steps=-1 if settings.max_steps is None else settings.max_steps,
        precision=LIGHTNING_PRECISION[settings.precision],  # type: ignore[arg-type]
        gradient_clip_val=settings.gradient_clip,
        check_val_every_n_epoch=settings.validate_every,
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=[CSVLogger(output, name="", version="logs"), TensorBoardLogger(output, name="", version="logs")],
        callbacks=used,
        plugins=[AtomicCheckpoints()],
        enable_progress_bar=progress,
        enable_model_summary=False,  # pelee-models counts
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        use_distributed_sampler=False,
    )


def check_output(output: Path, resume: bool) -> None:
    """Raise SettingsError where there is nothing to resume, or where a run would write over an earlier one."""
    begun = (output / "last.ckpt").is_file()
    if resume and not begun:
        raise SettingsError(f"nothing to resume: {output / 'last.ckpt'} does not exist")
    if begun and not resume:
        raise SettingsError(f"{output} holds an earlier run; go on with it by --resume, or name another --output")


def fit(trainer: pl.Trainer, module: pl.LightningModule, output: Path, resume: bool) -> float:
    """Train, or go on from `output/last.ckpt`; the module ends with the weights that did best on the held-out split.

    The last weights are measured, too, where the run does not end with a validation (`module.validated_step` says
    when that was).

    Returns:
        The monitored value of these weights, as the module logs it.

    Raises:
        KeyboardInterrupt: ctrl-C.
    """
    last = output / "last.ckpt"
    try:
        trainer.fit(module, ckpt_path=str(last) if resume else None, weights_only=True)
    except SystemExit:  # what Lightning makes of ctrl-C
        raise KeyboardInterrupt from None
    best = trainer.checkpoint_callbacks[0]
    assert isinstance(best, ModelCheckpoint) and best.monitor is not None
    score = -1.0 if best.best_model_score is None else float(best.best_model_score)
    if module.validated_step != trainer.global_step:
        take_weights(module, last)
        (final,) = trainer.validate(module, verbose=False)
        if final[best.monitor] > score:
            return float(final[best.monitor])
    take_weights(module, Path(best.best_model_path))
    return score


def take_weights(module: nn.Module, checkpoint: Path) -> None:
    """Load a checkpoint's weights: their moving average, where there is one."""
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])


def to_tensors(module: nn.Module) -> dict[str, np.ndarray]:
    """A module's state as arrays on the CPU."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def current_commit() -> str:
    """The commit that the code is at, with a mark where it was changed since; "unknown" outside a checkout."""
    file = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(file.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    try:
        # An installed package may lie in the checkout of something else, whose commit would say nothing of it.
        ours = git("ls-files", file.name)
        return (ours and git("describe", "--always", "--dirty", "--abbrev=12")) or "unknown"
    except FileNotFoundError:  # no git
        return "unknown"
