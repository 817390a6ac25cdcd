"""Exponential moving average of the weights."""

from collections.abc import Callable

import torch
from torch import Tensor


def average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return the update of a moving average whose decay rises with the updates n as (1 + n) / (10 + n) up to `decay`.

    With the full decay from the start, the average after a fine-tuning of 100 steps would be near the first weights.
    """

    def update(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        n = torch.as_tensor(updates)
        return averaged + (current - averaged) * (1 - ((1 + n) / (10 + n)).clamp(max=decay))

    return update
