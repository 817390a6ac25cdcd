"""Learning-rate schedules."""

import math
from collections.abc import Sequence

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler

from pelee.training.optimization import Cycles, OptimizationSettings


def lr_factor(step: int, total_steps: int, settings: OptimizationSettings) -> float:
    """Return the factor of `settings.lr` at step number `step` (0-based) of `total_steps`.

    It depends on the step only, so that a resumed run needs no state. For "plateau", which depends on the scores, it is
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
    """Return the cyclical learning rate at a time in epochs; the amplitude is halved after each cycle.

    Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.1. Each phase starts anew.
    """
    begin = 0.0
    for phase in phases:
        if epoch < phase.until or phase is phases[-1]:
            break
        begin = phase.until
    done, place = divmod((epoch - begin) / phase.step_size, 2)  # complete cycles; position in the current one, 0 to 2
    return phase.min_lr + (phase.max_lr - phase.min_lr) * (1 - abs(place - 1)) / 2**done


def with_schedule(
    optimizer: torch.optim.Optimizer, total_steps: int, settings: OptimizationSettings
) -> OptimizerLRSchedulerConfig:
    """Return an optimizer with its schedule in Lightning's form, stepped once per optimizer step.

    For "plateau" a callback (`pelee.training.callbacks.Plateau`) changes the rates themselves, so its warm-up
    multiplies the current rate, whereas the other schedules set the rate.
    """
    if settings.schedule == "plateau":
        first = lr_factor(0, total_steps, settings)  # 1 / (warm-up steps + 1)
        schedule: LRScheduler = LinearLR(optimizer, start_factor=first, total_iters=round(1 / first) - 1)
    else:
        schedule = LambdaLR(optimizer, lambda step: lr_factor(step, total_steps, settings))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 1}}
