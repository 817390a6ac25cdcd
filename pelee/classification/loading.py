"""Loading of classification networks from model files, and the card entries that describe a network."""

import dataclasses
from typing import Any

from torch import nn

from data.errors import SettingsError, WeightsError
from data.images.preprocess import MEAN, SCALE
from pelee.models.layers import Normalize
from pelee.models.pretrained import as_tuples, load_strict
from pelee.models.registry import MODELS, build
from weights.store import ModelFile


def load_network(model: ModelFile) -> nn.Module:
    """Load the network of a classifier's model file with its weights, in eval mode.

    Raises:
        WeightsError: the card names no classifier of the registry, or the weights do not fit it.
    """
    card = model.card
    if card.task != "classification" or card.architecture not in MODELS:
        raise WeightsError(
            f"{model.path.parent} holds a {card.architecture!r} for {card.task}; expected a classifier: "
            f"{', '.join(MODELS)}"
        )
    try:
        network = build(card.architecture, len(card.class_names), as_tuples(card.architecture_settings))
    except SettingsError as error:
        raise WeightsError(f"{model.path.parent}: the card's architecture_settings do not fit: {error}") from None
    load_strict(network, model)
    return network.eval()


def settings_of(network: nn.Module, given: dict[str, Any]) -> dict[str, Any]:
    """A network's `architecture_settings` for its card: its whole config where it has one, else the given settings.

    A `normalization` other than the default is included in either case.
    """
    config = getattr(network, "config", None)
    own = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else dict(given)  # type: ignore[arg-type]
    own.pop("normalization", None)
    normalize = getattr(network, "normalize", None)
    settings = normalize.settings if isinstance(normalize, Normalize) else {}
    return own | ({"normalization": settings} if settings else {})


def preprocessing_of(network: nn.Module) -> dict[str, Any]:
    """A card's `preprocessing`: the operations of the network's graph on an image."""
    normalize = network.normalize
    assert isinstance(normalize, Normalize)
    mean = normalize.settings.get("mean", MEAN)
    std = normalize.settings.get("std")
    scale = [1 / value for value in std] if std else SCALE
    grey = {"grey": True} if normalize.luma is not None else {}
    return {"colour_order": "RGB", "resize": "warp", "mean": list(mean), "scale": scale, **grey}
