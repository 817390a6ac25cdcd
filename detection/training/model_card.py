"""Model card of a trained detector."""

from typing import Any

from data.datasets.records import Dataset
from data.errors import SettingsError
from detection.models.base import DetectorConfig
from detection.models.loading import to_settings
from weights.card import Card


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
