"""Optimizer and its settings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from data.errors import SettingsError

Precision = Literal["auto", "bf16", "fp16", "fp32"]
Schedule = Literal["cosine", "multi-step", "geometric", "triangular2", "plateau"]
OptimizerName = Literal["sgd", "adamw", "adam"]
Rate = Annotated[float, Field(gt=0)]


class Cycles(NamedTuple):
    """A phase of the cyclical schedule: `min_lr` to `max_lr` and back in 2 × `step_size` epochs, to epoch `until`."""

    min_lr: Rate
    max_lr: Rate
    step_size: Rate
    until: Rate


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
        precision: "auto" is bf16 where the device computes it natively, else fp32 (`pelee.training.precision`). A run
            may be resumed in another precision, on a machine of another kind.
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
    precision: Precision = "auto"
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
RESUMABLE = {"precision", "workers", "patience", "checkpoint_every", "compile", "mlflow"}


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
