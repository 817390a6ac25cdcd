"""Exponential moving average of the weights."""

from collections.abc import Callable

import torch
from torch import Tensor


def average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A moving average that follows short runs, too: its decay rises with the updates n as (1 + n) / (10 + n).

    With the full decay from the start, a fine-tuning of a hundred steps would give back little but its first weights.
    """

    def update(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        n = torch.as_tensor(updates)
        return averaged + (current - averaged) * (1 - ((1 + n) / (10 + n)).clamp(max=decay))

    return update
