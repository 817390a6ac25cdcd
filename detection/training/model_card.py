"""Model card of a trained detector."""

from collections.abc import Sequence
from typing import Any

from data.errors import SettingsError
from detection.models.loading import to_settings
from detection.models.network import DetectorConfig
from weights.card import Card


def make_card(name: str, config: DetectorConfig, class_names: Sequence[str], training: dict[str, Any]) -> Card:
    """Return the card of a network; `training` is the card's field of that name."""
    return Card(
        name=name,
        task="detection",
        architecture=config.architecture,
        architecture_settings=to_settings(config),
        class_names=list(class_names),
        input_size=config.input_size,
        training=training,
    )


def check_design(config: DetectorConfig, start: DetectorConfig, name: str) -> None:
    """Raise SettingsError if a network would take weights that were trained for another design.

    Number of classes and input size may differ. Other priors must not: offsets trained against them would fit by shape
    and describe other boxes.
    """
    if config.architecture != start.architecture:
        raise SettingsError(
            f"{name} is a {start.architecture!r}, this run trains a {config.architecture!r}; set model alike"
        )
    own, theirs = to_settings(config), to_settings(start)
    for key, value in theirs.items():
        if own[key] != value and key != "background_outputs":  # rows of classes are matched by name
            raise SettingsError(f"{name} was made with {key} {value}, this run has {own[key]}; set it alike")
