"""Between a network and its file: build what a card describes, start from other weights, write a card."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from data.errors import SettingsError, WeightsError
from data.records import Dataset
from detection.model import Pelee, PeleeConfig
from pelee.networks.peleenet import PeleeNetConfig
from weights.card import Card
from weights.store import ModelFile, load_tensors

ARCHITECTURE = "pelee"


def to_settings(config: PeleeConfig) -> dict[str, Any]:
    """The config as a card holds it: plain values, class count and input size left out (the card has them)."""
    settings = dataclasses.asdict(config)
    del settings["num_classes"], settings["input_size"]
    return settings


def to_config(model: ModelFile) -> PeleeConfig:
    """The network's design as the card tells it. Raises WeightsError for a card that describes no Pelee."""
    card = model.card
    if card.architecture != ARCHITECTURE:
        raise WeightsError(f"{model.path.parent} holds a {card.architecture!r}; expected a detector, {ARCHITECTURE!r}")
    settings = _tuples(card.architecture_settings)
    try:
        backbone = PeleeNetConfig(**settings.pop("backbone"))
        return PeleeConfig(num_classes=len(card.class_names), input_size=card.input_size, backbone=backbone, **settings)
    except (TypeError, KeyError) as error:
        raise WeightsError(f"{model.path.parent}: the card's architecture_settings do not fit: {error}") from None


def make_card(
    name: str,
    config: PeleeConfig,
    dataset: Dataset,
    settings: dict[str, Any],
    *,
    command: str,
    commit: str,
    start: str | None = None,
) -> Card:
    """The card of a network that was trained on `dataset` with these resolved settings."""
    return Card(
        name=name,
        task="detection",
        architecture=ARCHITECTURE,
        architecture_settings=to_settings(config),
        class_names=list(dataset.class_names),
        input_size=config.input_size,
        training={
            "command": command,
            "commit": commit,
            "settings": settings,
            "data": f"{dataset.name} {dataset.split}: {len(dataset.records)} pictures, "
            f"{sum(len(record.labels) for record in dataset.records)} objects",
            "started_from": start,
        },
    )


def check_design(config: PeleeConfig, start: PeleeConfig, name: str) -> None:
    """Raise SettingsError where a network would take weights that were learnt for another design.

    Class count and input size may differ. Boxes learnt against other priors would fit by shape and mean nothing.
    """
    own, theirs = to_settings(config), to_settings(start)
    for key, value in theirs.items():
        if own[key] != value:
            raise SettingsError(f"{name} was made with {key} {value}, this run has {own[key]}; set it alike")


def load_network(model: ModelFile) -> Pelee:
    """The network of a model file with its weights, verified, in eval mode."""
    network = Pelee(to_config(model))
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
    return network.eval()


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


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that a config holds."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
