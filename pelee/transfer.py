"""Weights into networks: all of a model file's, or as many as fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from data.errors import WeightsError
from weights.store import ModelFile, load_tensors


def fill(network: nn.Module, model: ModelFile) -> None:
    """Load a model file's weights, verified, into the network that its card describes.

    Raises:
        WeightsError: a tensor that is missing, left over or of another shape, besides what `load_tensors` raises.
    """
    tensors = load_tensors(model)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name, shape in wanted.items():
        if name not in tensors:
            raise WeightsError(f"{model.path} lacks the tensor {name}; the card describes another network")
        if tensors[name].shape != shape:
            raise WeightsError(
                f"{model.path}: tensor {name} is {tensors[name].shape}, expected {shape} for "
                f"{len(model.card.class_names)} classes; the card and the weights do not fit"
            )
    if extra := sorted(set(tensors) - set(wanted)):
        raise WeightsError(f"{model.path} has a tensor {extra[0]} that the card's network lacks")
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})


@dataclass(frozen=True)
class Transfer:
    """What a module took from other weights.

    taken: names of its tensors that were filled; replaced: those whose shape differs there, so that they start anew;
    missing: those that the weights do not have; unused: names in the weights that found no place.
    """

    taken: list[str]
    replaced: list[str]
    missing: list[str]
    unused: list[str]

    def __str__(self) -> str:
        lines = [f"took {len(self.taken)} tensors"]
        for word, names in (
            ("replaced (another shape)", self.replaced),
            ("new (not in the weights)", self.missing),
            ("left (no place for them)", self.unused),
        ):
            if names:
                modules = sorted({name.rpartition(".")[0] for name in names})
                shown = ", ".join(modules[:8]) + (f" and {len(modules) - 8} more" if len(modules) > 8 else "")
                lines.append(f"{word}: {len(names)} tensors of {shown}")
        return "; ".join(lines)


def transfer(module: nn.Module, tensors: Mapping[str, np.ndarray]) -> Transfer:
    """Fill every tensor of a module that `tensors` has under its name and in its shape.

    Raises:
        WeightsError: not one fits.
    """
    state = module.state_dict()
    taken = [name for name in state if name in tensors and tensors[name].shape == tuple(state[name].shape)]
    if not taken:
        raise WeightsError("the weights to start from do not fit: no tensor has a name and shape of this network's")
    module.load_state_dict({name: torch.from_numpy(tensors[name]) for name in taken}, strict=False)
    return Transfer(
        taken,
        [name for name in state if name in tensors and name not in set(taken)],
        [name for name in state if name not in tensors],
        [name for name in tensors if name not in state],
    )


def as_tuples(value: Any) -> Any:
    """JSON's lists as the tuples that a config holds."""
    if isinstance(value, dict):
        return {key: as_tuples(inner) for key, inner in value.items()}
    return tuple(as_tuples(inner) for inner in value) if isinstance(value, list) else value
