"""Between a network and its file: build what a card describes, check a start from other weights, write a card."""

import dataclasses
from typing import Any

from data.datasets.records import Dataset
from data.errors import SettingsError, WeightsError
from detection.architectures import ARCHITECTURES, build
from detection.network import DetectorConfig, DetectorNetwork
from pelee.models.pretrained import as_tuples, fill
from weights.card import Card
from weights.store import ModelFile


def to_settings(config: DetectorConfig) -> dict[str, Any]:
    """The config as a card holds it: plain values, class count and input size left out (the card has them)."""
    settings = dataclasses.asdict(config)  # type: ignore[call-overload]  # each is a dataclass
    del settings["num_classes"], settings["input_size"]
    return settings


def to_config(model: ModelFile) -> DetectorConfig:
    """The network's design as the card tells it. Raises WeightsError for a card that describes no detector's."""
    card = model.card
    if card.architecture not in ARCHITECTURES:
        known = " or ".join(map(repr, ARCHITECTURES))
        raise WeightsError(f"{model.path.parent} holds a {card.architecture!r}; expected a detector, {known}")
    settings = as_tuples(card.architecture_settings)
    try:
        config = ARCHITECTURES[card.architecture].config
        return config.from_card(settings, num_classes=len(card.class_names), input_size=card.input_size)
    except (TypeError, KeyError) as error:
        raise WeightsError(f"{model.path.parent}: the card's architecture_settings do not fit: {error}") from None


def make_card(
    name: str,
    config: DetectorConfig,
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
        architecture=config.architecture,
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


def check_design(config: DetectorConfig, start: DetectorConfig, name: str) -> None:
    """Raise SettingsError where a network would take weights that were learnt for another design.

    Class count and input size may differ. Boxes learnt against other priors would fit by shape and mean nothing.
    """
    if config.architecture != start.architecture:
        raise SettingsError(
            f"{name} is a {start.architecture!r}, this run trains a {config.architecture!r}; set model alike"
        )
    own, theirs = to_settings(config), to_settings(start)
    for key, value in theirs.items():
        if own[key] != value:
            raise SettingsError(f"{name} was made with {key} {value}, this run has {own[key]}; set it alike")


def load_network(model: ModelFile) -> DetectorNetwork:
    """The network of a model file with its weights, verified, in eval mode."""
    network = build(to_config(model))
    fill(network, model)
    return network.eval()
