"""Divergence: a training whose loss or weights are not finite, or whose loss explodes, is stopped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from data.errors import PeleeError
from pelee.training.resume import BEST, LAST

CHECK_EVERY = 20  # steps; a GPU is synchronized for a check
EXPLODED = 30  # times the first loss, as the moving average of the loss
CLAMP = 100  # times the first loss: what a single step can add to the average
AVERAGE_DECAY = 0.95
SKIPPED = 10  # steps in a row whose loss may be infinite in fp16, where the gradient scaler leaves them out


class DivergedError(PeleeError):
    """A training whose loss is not finite or explodes."""


class DivergenceGuard(Callback):
    """Raises `DivergedError` before a step whose loss is not finite, and where the loss explodes.

    The loss explodes where its moving average exceeds 30 times the loss of the run's first step (of at
    least 1). Weights that are not finite, or whose last loss exceeds 100 times the first, are never written to a
    checkpoint. A single process on a CPU is checked at each step, others every 20 steps.

    Args:
        lr: the learning rate of the settings, for the message.
        precision: the precision of the settings.
    """

    def __init__(self, lr: float, precision: str) -> None:
        self.lr = lr
        self.other_precision = "" if precision == "fp32" else ", or --precision fp32"
        self.tolerated = SKIPPED if precision == "fp16" else 0
        self.first: float | None = None
        self.average: Tensor | None = None
        self.last: Tensor | None = None  # loss of the last step
        self.bad: Tensor | None = None  # steps in a row without a finite loss

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        value = loss.detach().float()
        finite = value.isfinite()
        self.last = torch.where(finite, value, 0.0)
        if self.bad is None:
            self.bad = torch.zeros((), device=value.device)
        self.bad = torch.where(finite, torch.zeros_like(self.bad), self.bad + 1)
        if self.first is None:
            if bool(finite):
                self.first = max(1.0, float(value))
        else:
            clamped = torch.where(finite, value, 0.0).clamp(max=CLAMP * self.first)
            before = torch.full_like(value, self.first) if self.average is None else self.average.to(value.device)
            self.average = before + (clamped - before) * (1 - AVERAGE_DECAY)
        every = 1 if value.device.type == "cpu" and trainer.world_size == 1 else CHECK_EVERY
        if self.first is None or trainer.global_step % every == 0:
            self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        """Raise the error in all processes if it is one's."""
        assert self.bad is not None
        infinite = bool(self.bad > self.tolerated)
        limit = EXPLODED * (self.first or 1.0)
        exploded = self.average is not None and bool(self.average > limit)
        if trainer.world_size > 1:
            infinite = trainer.strategy.reduce_boolean_decision(infinite, all=False)
            exploded = trainer.strategy.reduce_boolean_decision(exploded, all=False)
        step = trainer.global_step + 1
        if infinite:
            raise DivergedError(f"the loss is not finite at step {step}; {self._remedy(trainer)}")
        if exploded:
            raise DivergedError(
                f"the loss explodes: it is above {limit:.0f} at step {step}, {EXPLODED} times that of the first step; "
                f"{self._remedy(trainer)}"
            )

    def _remedy(self, trainer: pl.Trainer) -> str:
        output = Path(trainer.default_root_dir)
        kept = [name for name in (BEST, LAST) if (output / name).is_file()]
        kept_text = f"; {kept[0]} is kept, and --finish {output} writes its weights as a model" if kept else ""
        return f"take a lower --lr than {self.lr:g} or a --gradient-clip such as 10{self.other_precision}{kept_text}"

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not is_finite(pl_module):
            raise DivergedError(f"the weights are not finite after step {trainer.global_step}; {self._remedy(trainer)}")
        limit = CLAMP * (self.first or 1.0)
        exploded = self.last is not None and bool(self.last > limit)
        if trainer.world_size > 1:
            exploded = trainer.strategy.reduce_boolean_decision(exploded, all=False)
        if exploded:
            raise DivergedError(
                f"the loss explodes: it is above {limit:.0f} at step {trainer.global_step}, {CLAMP} times that of the "
                f"first step, and a checkpoint is due; {self._remedy(trainer)}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "average": None if self.average is None else float(self.average)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.first = state_dict["first"]
        average = state_dict["average"]
        self.average = None if average is None else torch.tensor(average)


@torch.no_grad()
def is_finite(network: nn.Module) -> bool:
    """Return whether all floating-point tensors of a network's state are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values() if tensor.is_floating_point())
