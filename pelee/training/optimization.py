"""Optimizer and its settings. The settings import no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from data.errors import SettingsError
from pelee.training.choices import Interval

if TYPE_CHECKING:
    import torch
    from torch import nn

Precision = Literal["auto", "bf16", "fp16", "fp32"]
Schedule = Literal["cosine", "multi-step", "geometric", "triangular2", "plateau"]
OptimizerName = Literal["sgd", "adamw", "adam"]
Rate = Annotated[float, Interval(gt=0)]


class Cycles(NamedTuple):
    """Phase of the cyclical schedule: `min_lr` to `max_lr` and back in 2 × `step_size` epochs, up to epoch `until`."""

    min_lr: Rate
    max_lr: Rate
    step_size: Rate
    until: Rate


@dataclass(kw_only=True)
class OptimizationSettings:
    """Optimization and run. The unit of the schedule is an optimizer step.

    Attributes:
        epochs: passes over the training images.
        max_steps: maximum number of steps, whatever `epochs` is; null for no limit.
        max_minutes: minutes of training after which the run stops at a checkpoint, from which it can be resumed; null
            for no limit. The schedule is that of `epochs` all the same.
        batch_size: images in a step, over all processes together.
        optimizer: "sgd" (with `momentum`, optionally Nesterov), "adamw" (Loshchilov and Hutter 2019) or "adam" (Kingma
            and Ba 2015).
        lr: learning rate at the end of the warm-up.
        momentum: momentum of SGD.
        nesterov: Nesterov momentum for SGD.
        weight_decay: factor w of w · weight, which SGD and Adam add to the gradient; AdamW subtracts lr · w · weight
            from the weight itself. Keras's L2(λ) adds λ · weight² to the loss, which has the gradient of w = 2λ.
        schedule: "cosine", 0.5 · lr · (cos(π · t / T) + 1), as in the paper for PeleeNet; "multi-step", × `gamma` at
            each of `milestones`; "geometric", × `gamma` every `gamma_epochs` epochs; "triangular2" (Smith 2017), see
            `cycles`; "plateau", × `gamma` after `plateau_patience` validations in a row without a better score. With
            `max_steps`, its epochs are shorter in proportion.
        milestones: fractions of the schedule, 0 to 1, at which multi-step multiplies the rate; empty: constant rate.
        gamma: factor of multi-step, geometric and plateau.
        gamma_epochs: epochs between two steps of geometric.
        plateau_patience: validations without a better score after which plateau multiplies the rate.
        cycles: rows (min_lr, max_lr, step_size, until) of triangular2: up to epoch `until` the rate rises from `min_lr`
            to `max_lr` in `step_size` epochs and falls in as many, each time half as high as before. Each row starts
            anew; the last holds to the end of the run. The rates are absolute, independent of `lr`.
        warmup_steps: steps of the linear warm-up, at most a tenth of the schedule, so that a recipe for large datasets
            works for small ones.
        gradient_clip: maximum L2 norm of the gradient; null for no limit.
        ema_decay: decay of the moving average of the weights, which is evaluated and saved; 0 for none. It is smaller
            in the first steps (see `pelee.training.callbacks.average`).
        input_size: side of the network's input in pixels.
        size_phases: pairs (size, fraction): that input size up to that fraction of the schedule, then `input_size`.
            Smaller inputs first cost less and learn nearly as much; any order of sizes is valid.
        precision: "auto" is bf16 if the device computes it natively, else fp32 (`pelee.training.precision`). A run
            can be resumed in another precision, on a machine of another kind.
        compile: `torch.compile` the network: takes one to two minutes for every input size; on two CPU cores a step is
            a tenth faster.
        seed: seed of weights, order and augmentation.
        workers: processes that read images; 0 reads them in the training process; null takes none on a CPU, and on a
            GPU as many as there are cores, at most 8. Never more than cores and shared memory allow.
        validate_every: epochs between two validations.
        patience: validations without a better score before the run stops early; null for never.
        checkpoint_every: steps between two writes of `last.ckpt`.
        checkpoint_minutes: minutes between two writes of `last.ckpt`, instead of `checkpoint_every`; null for steps.
        mlflow: URI of an MLflow server or database (sqlite:///runs.db) to which the run is logged, too. Give no
            password in it, because it is written to the card: MLflow reads MLFLOW_TRACKING_USERNAME and ..._PASSWORD.
    """

    epochs: Annotated[int, Interval(ge=1)] = 1
    max_steps: Annotated[int, Interval(ge=1)] | None = None
    max_minutes: Annotated[float, Interval(gt=0)] | None = None
    batch_size: Annotated[int, Interval(ge=1)] = 32
    optimizer: OptimizerName = "sgd"
    lr: Annotated[float, Interval(gt=0)] = 0.01
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Interval(ge=0)] = 5e-4
    schedule: Schedule = "cosine"
    milestones: tuple[Annotated[float, Interval(ge=0, le=1)], ...] = (2 / 3, 5 / 6)
    gamma: Annotated[float, Interval(gt=0, le=1)] = 0.1
    gamma_epochs: Annotated[int, Interval(ge=1)] = 1
    plateau_patience: Annotated[int, Interval(ge=0)] = 3
    cycles: tuple[Cycles, ...] = ()
    warmup_steps: Annotated[int, Interval(ge=0)] = 0
    gradient_clip: Annotated[float, Interval(gt=0)] | None = None
    ema_decay: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    input_size: int = 304
    size_phases: tuple[tuple[int, Annotated[float, Interval(ge=0, le=1)]], ...] = ()
    precision: Precision = "auto"
    compile: bool = False
    seed: int = 0
    workers: Annotated[int, Interval(ge=0)] | None = None
    validate_every: Annotated[int, Interval(ge=1)] = 1
    patience: Annotated[int, Interval(ge=1)] | None = None
    checkpoint_every: Annotated[int, Interval(ge=1)] = 500
    checkpoint_minutes: Annotated[float, Interval(gt=0)] | None = None
    mlflow: str | None = None

    def check(self) -> None:
        """Raise SettingsError for settings that are valid by themselves and not together."""
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
        """Return the input size at `progress`, 0 to 1, of the schedule."""
        return next((size for size, until in self.size_phases if progress < until), self.input_size)

    def steps_per_epoch(self, images: int) -> int:
        """Return the batches of an epoch over so many images; an incomplete batch is dropped, but not the only one."""
        return max(1, images // self.batch_size)

    def total_steps(self, images: int) -> int:
        """Return the optimizer steps of a whole run over so many images."""
        steps = self.epochs * self.steps_per_epoch(images)
        return min(steps, self.max_steps or steps)


def build_optimizer(
    parameters: "Iterable[nn.Parameter] | Sequence[dict[str, Any]]", settings: OptimizationSettings
) -> "torch.optim.Optimizer":
    """Return the optimizer of the settings over parameters or groups of them."""
    import torch

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
