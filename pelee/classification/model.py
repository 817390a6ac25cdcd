"""Between a classification network and its file; and the graph that runtimes run."""

import dataclasses
from typing import Any

from torch import Tensor, nn

from data.errors import WeightsError
from pelee.networks.registry import MODELS, build
from pelee.transfer import as_tuples, fill
from weights.store import ModelFile


def load_network(model: ModelFile) -> nn.Module:
    """The network of a classifier's model file with its weights, verified, in eval mode.

    Raises:
        WeightsError: a card of no classifier that the registry knows, or weights that do not fit it.
    """
    card = model.card
    if card.task != "classification" or card.architecture not in MODELS:
        raise WeightsError(
            f"{model.path.parent} holds a {card.architecture!r} for {card.task}; expected a classifier: "
            f"{', '.join(MODELS)}"
        )
    try:
        network = build(card.architecture, len(card.class_names), as_tuples(card.architecture_settings))
    except TypeError as error:
        raise WeightsError(f"{model.path.parent}: the card's architecture_settings do not fit: {error}") from None
    fill(network, model)
    return network.eval()


def settings_of(network: nn.Module, given: dict[str, Any]) -> dict[str, Any]:
    """A network's `architecture_settings` for its card: all of its config where it has one, else what was given."""
    config = getattr(network, "config", None)
    return dataclasses.asdict(config) if dataclasses.is_dataclass(config) else given  # type: ignore[arg-type]


class ClassificationGraph(nn.Module):
    """A classifier as runtimes run it: (N, S, S, 3) uint8 RGB -> (N, C) probabilities, float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(images.permute(0, 3, 1, 2)).float().softmax(-1),)
