"""Loading of a detector network from a model file, and conversion between configs and card settings."""

import dataclasses
from typing import Any

from data.errors import WeightsError
from detection.models.heads import Head
from detection.models.network import DetectorConfig, DetectorNetwork
from detection.models.registry import ARCHITECTURES, build
from pelee.models.pretrained import ClassRows, as_tuples, load_strict
from weights.store import ModelFile


def to_settings(config: DetectorConfig) -> dict[str, Any]:
    """Card settings of a config: plain values without class count and input size, which the card stores itself."""
    settings = dataclasses.asdict(config)  # type: ignore[call-overload]  # each is a dataclass
    del settings["num_classes"], settings["input_size"]
    return settings


def to_config(model: ModelFile) -> DetectorConfig:
    """Config described by the card of a model. Raises WeightsError if the card is not that of a detector."""
    card = model.card
    if card.architecture not in ARCHITECTURES:
        known = " or ".join(map(repr, ARCHITECTURES))
        raise WeightsError(f"{model.path.parent} holds a {card.architecture!r}; expected a detector, {known}")
    settings = as_tuples(card.architecture_settings)
    try:
        config = ARCHITECTURES[card.architecture].config_class()
        return config.from_card(settings, num_classes=len(card.class_names), input_size=card.input_size)
    except (TypeError, KeyError) as error:
        raise WeightsError(f"{model.path.parent}: the card's architecture_settings do not fit: {error}") from None


def load_network(model: ModelFile) -> DetectorNetwork:
    """Network of a model file with verified weights, in eval mode."""
    network = build(to_config(model))
    load_strict(network, model)
    return network.eval()


def class_rows(network: DetectorNetwork, class_names: tuple[str, ...]) -> ClassRows:
    """Return the tensors of a detector's heads whose rows are its classes, for a transfer by name."""
    layers = [f"{name}.{module.class_layer}" for name, module in network.named_modules() if isinstance(module, Head)]
    head = network.heads[0]
    assert isinstance(head, Head)
    background = head.num_outputs - network.config.num_classes
    tensors = tuple(f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))
    return ClassRows(tensors, class_names, background)
