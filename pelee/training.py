"""What the trainers of the classifier and of the detector share: optimiser, schedule, Lightning trainer."""

import logging
import math
import subprocess
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pydantic import Field
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler

from data.errors import SettingsError
from pelee.allocator import tune_allocator
from pelee.callbacks import AtomicCheckpoints, Plateau, StepCheckpoint
from pelee.loggers import build_loggers
from pelee.settings import to_plain

Precision = Literal["bf16", "fp16", "fp32"]
Schedule = Literal["cosine", "multi-step", "geometric", "triangular2", "plateau"]
OptimizerName = Literal["sgd", "adamw", "adam"]
Rate = Annotated[float, Field(gt=0)]


class Cycles(NamedTuple):
    """A phase of the cyclical schedule: `min_lr` to `max_lr` and back in 2 × `step_size` epochs, to epoch `until`."""

    min_lr: Rate
    max_lr: Rate
    step_size: Rate
    until: Rate


LIGHTNING_PRECISION = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


@dataclass(kw_only=True)
class OptimizationSettings:
    """How weights are moved, and for how long. One unit of the schedule is an optimiser step.

    Attributes:
        epochs: passes over the training pictures; fractions are not taken.
        max_steps: stop after so many steps, whatever `epochs` says; None for no such bound.
        batch_size: pictures a step, over all processes together.
        optimizer: "sgd" (with `momentum`, Nesterov if asked), "adamw" (Loshchilov and Hutter 2019) or "adam" (Kingma
            and Ba 2015).
        lr: the learning rate at the end of the warm-up.
        weight_decay: w of w · weight, which SGD and Adam add to the gradient, the decay being a part of the loss; with
            AdamW lr · w · weight is taken off the weight itself. Keras's L2(λ) adds λ · weight² to the loss, which has
            the gradient of w = 2λ.
        schedule: "cosine", 0.5 · lr · (cos(π · t / T) + 1), the paper's for PeleeNet; "multi-step", × `gamma` at each
            of `milestones`; "geometric", × `gamma` every `gamma_epochs` epochs; "triangular2" (Smith 2017), what
            `cycles` says; or "plateau", × `gamma` at the validation that follows `plateau_patience` ones in a row
            without a better score. Where `max_steps` ends the run, its epochs are as much shorter.
        milestones: shares of the whole schedule, 0 to 1, at which multi-step drops; none keeps the rate.
        cycles: (min_lr, max_lr, step_size, until) rows of triangular2: to the epoch `until` the rate goes from `min_lr`
            up to `max_lr` in `step_size` epochs and down again in as many, every time half as high as before. Each row
            begins anew; the last goes on to the run's end. These are rates as they are, whatever `lr` is.
        warmup_steps: steps over which the rate rises linearly from nearly zero, at most a tenth of the schedule: a
            recipe for large sets must serve small ones, too.
        gradient_clip: largest L2 norm of the gradient; None leaves it.
        ema_decay: decay of the weights' moving average, which is evaluated and saved; 0 for none. Early on it is
            smaller (see `average`).
        input_size: side of the network's input in pixels.
        size_phases: (size, share) pairs: that input size until that share of the schedule is over, `input_size`
            afterwards. Smaller inputs first cost a fraction and learn nearly as much; any order of sizes is taken.
        compile: `torch.compile` the network: it costs a minute or two for every input size, and pays on a GPU; on two
            CPU cores a step is a tenth quicker.
        validate_every: epochs from one measurement of the held-out split to the next.
        patience: validations without a better score before the run stops; None never stops early.
        checkpoint_every: steps from one `last.ckpt` to the next, so that a kill loses minutes at most.
        workers: processes that read pictures; 0 reads them in the training's own.
        mlflow: URI of an MLflow server or database (sqlite:///runs.db) that the run is logged to, too. A password has
            no place in it, for it is on the card: MLflow takes MLFLOW_TRACKING_USERNAME and ..._PASSWORD.
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
    gamma_epochs: Annotated[int, Field(ge=1)] = 1
    plateau_patience: Annotated[int, Field(ge=0)] = 3
    cycles: tuple[Cycles, ...] = ()
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
    mlflow: str | None = None

    def check(self) -> None:
        """Raise SettingsError where settings that are right by themselves do not go together."""
        if self.nesterov and not self.momentum:
            raise SettingsError("setting nesterov: it needs a momentum above 0")
        if (self.schedule == "triangular2") != bool(self.cycles):
            raise SettingsError(
                f"setting cycles: schedule triangular2 needs them and no other takes them; got {len(self.cycles)} "
                f"with schedule {self.schedule}"
            )
        if self.cycles and self.warmup_steps:
            raise SettingsError("setting warmup_steps: triangular2 rises by itself; take 0")
        for name, ends in (
            ("size_phases", [until for _, until in self.size_phases]),
            ("cycles", [row.until for row in self.cycles]),
        ):
            if any(one >= other for one, other in pairwise(ends)):
                raise SettingsError(f"setting {name}: the phases' ends must rise, got {', '.join(map(str, ends))}")
        for row in self.cycles:
            if row.min_lr > row.max_lr:
                raise SettingsError(f"setting cycles: min_lr {row.min_lr} is above max_lr {row.max_lr}")

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
RESUMABLE = {"workers", "patience", "checkpoint_every", "compile", "mlflow"}


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Sequence[dict[str, Any]], settings: OptimizationSettings
) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over parameters or groups of them."""
    if settings.optimizer != "sgd":
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.optimizer]
        return kind(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )


def lr_factor(step: int, total_steps: int, settings: OptimizationSettings) -> float:
    """What `settings.lr` is multiplied by at step number `step` (0-based) of `total_steps`.

    A function of the step alone, so that a resumed run needs no memory; of "plateau", which goes by the scores, it is
    the warm-up only.
    """
    warmup = min(settings.warmup_steps, total_steps // 10)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.schedule == "cosine":
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return 0.5 * (math.cos(math.pi * progress) + 1)
    if settings.schedule == "multi-step":
        return settings.gamma ** sum(step >= round(milestone * total_steps) for milestone in settings.milestones)
    if settings.schedule == "geometric":
        return settings.gamma ** (step * settings.epochs // (total_steps * settings.gamma_epochs))
    if settings.schedule == "triangular2":
        return triangular2(step * settings.epochs / total_steps, settings.cycles) / settings.lr
    return 1.0


def triangular2(epoch: float, phases: Sequence[Cycles]) -> float:
    """The cyclical learning rate at a moment in epochs, its amplitude halved after each cycle.

    Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.1; a phase begins a first cycle.
    """
    begin = 0.0
    for phase in phases:
        if epoch < phase.until or phase is phases[-1]:
            break
        begin = phase.until
    done, place = divmod((epoch - begin) / phase.step_size, 2)  # whole cycles; 0 to 2 in the present one
    return phase.min_lr + (phase.max_lr - phase.min_lr) * (1 - abs(place - 1)) / 2**done


def with_schedule(
    optimizer: torch.optim.Optimizer, total_steps: int, settings: OptimizationSettings
) -> OptimizerLRSchedulerConfig:
    """An optimiser with its learning-rate schedule, as Lightning takes them: stepped once an optimiser step.

    "plateau" lowers the rates themselves (a callback of `build_trainer` does), so its warm-up must multiply what is
    there, where the others set it.
    """
    if settings.schedule == "plateau":
        first = lr_factor(0, total_steps, settings)  # 1 / (steps of warm-up + 1)
        schedule: LRScheduler = LinearLR(optimizer, start_factor=first, total_iters=round(1 / first) - 1)
    else:
        schedule = LambdaLR(optimizer, lambda step: lr_factor(step, total_steps, settings))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 1}}


def average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A moving average that follows short runs, too: its decay rises with the updates n as (1 + n) / (10 + n).

    With the full decay from the start, a fine-tuning of a hundred steps would give back little but its first weights.
    """

    def update(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        n = torch.as_tensor(updates)
        return averaged + (current - averaged) * (1 - ((1 + n) / (10 + n)).clamp(max=decay))

    return update


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
    if settings.schedule == "plateau":
        used.append(Plateau(monitor, settings.gamma, settings.plateau_patience))
    if settings.patience is not None:
        used.append(EarlyStopping(monitor, mode="max", patience=settings.patience))
    if progress:
        used.append(TQDMProgressBar(refresh_rate=10))
    # What it says by itself repeats the settings, advertises, or advises against what is meant here.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # The loaders cannot be resumed; their samplers are, which Lightning does not know.
    for advice in (
        "module.s. in eval mode",  # what is frozen
        "dataloader is not resumable",
        "exists and is not empty",
        "smaller than the logging interval",
        "does not have many workers",
        "could not find the monitored key",  # a run that ends before its first validation: `fit` measures then
        "isinstance.treespec, LeafSpec",  # Lightning's own use of torch
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
        logger=build_loggers(output, to_plain(settings), settings.mlflow),
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
    when that was). The last measurement of all is that of the weights that the module ends with.

    Returns:
        The monitored value of these weights, as the module logs it.

    Raises:
        KeyboardInterrupt: ctrl-C.
    """
    last = output / "last.ckpt"
    tune_allocator()  # for who trains from Python; the commands have called it, before torch was there
    try:
        trainer.fit(module, ckpt_path=str(last) if resume else None, weights_only=True)
    except SystemExit:  # what Lightning makes of ctrl-C
        raise KeyboardInterrupt from None
    # The weights in the checkpoints are averages; it would put the run's last one in their place to measure them.
    trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, WeightAveraging)]  # type: ignore[attr-defined]
    best = trainer.checkpoint_callbacks[0]
    assert isinstance(best, ModelCheckpoint) and best.monitor is not None
    score = -1.0 if best.best_model_score is None else float(best.best_model_score)
    if module.validated_step != trainer.global_step:
        take_weights(module, last)
        (final,) = trainer.validate(module, verbose=False)
        if final[best.monitor] > score:
            return float(final[best.monitor])
    if take_weights(module, Path(best.best_model_path))["global_step"] != module.validated_step:
        trainer.loggers = []  # they have it, of the step where it was measured first
        trainer.validate(module, verbose=False)
    return score


def take_weights(module: nn.Module, path: Path) -> dict[str, Any]:
    """Load a checkpoint's weights, their moving average where there is one, into a module; returns all of it."""
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    return checkpoint


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
