"""The classification networks by name, and how any network is counted."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from data.errors import SettingsError
from pelee.networks.peleenet import peleenet


class Entry(NamedTuple):
    """A model of the registry.

    build: called with a number of classes and the design's settings, or with neither for the published network.
    input_size: side in pixels of the pictures that it was designed for, and that it is counted with.
    """

    build: Callable[..., nn.Module]
    input_size: int = 224


MODELS: dict[str, Entry] = {"peleenet": Entry(peleenet)}


def build(name: str, num_classes: int, settings: Mapping[str, object]) -> nn.Module:
    """A classification network by name; SettingsError for an unknown one, TypeError for settings that it lacks."""
    choose([name], MODELS)
    return MODELS[name].build(num_classes, **settings)


class Count(NamedTuple):
    """A network's size: trained numbers, multiply-adds of convolutions and linear layers for one picture, shapes."""

    parameters: int
    multiply_adds: int
    input_shape: tuple[int, ...]
    output_shapes: list[tuple[int, ...]]


def choose(names: Iterable[str], known: Mapping[str, object]) -> list[str]:
    """The names asked for, all where none is; an unknown one is a SettingsError that suggests the nearest."""
    names = list(names) or list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise SettingsError(f"no model {name!r}; {hint}")
    return names


def count(network: nn.Module, input_size: int) -> Count:
    """Count a network by running it once on an empty picture of `input_size` pixels a side."""
    shape = (1, 3, input_size, input_size)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        outputs = network.eval()(torch.zeros(shape))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return Count(
        sum(parameter.numel() for parameter in network.parameters()),
        counter.get_total_flops() // 2,  # the counter takes a multiply-add for two operations
        shape,
        [tuple(output.shape) for output in outputs],
    )
