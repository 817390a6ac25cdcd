"""The detectors' networks by name: what a setting, a card or a table's row builds."""

from collections.abc import Callable
from typing import Any, NamedTuple

from detection.models import pelee as model
from detection.models import ssdlite
from detection.models.base import DetectorConfig, DetectorNetwork


class Architecture(NamedTuple):
    """A kind of network: the class of its configs, and what builds one from a config."""

    config: type[DetectorConfig]
    network: Callable[[Any], DetectorNetwork]


ARCHITECTURES = {
    config.architecture: Architecture(config, network)
    for config, network in ((model.PeleeConfig, model.Pelee), (ssdlite.SSDLiteConfig, ssdlite.SSDLite))
}
#: The published designs, by name.
DESIGNS: dict[str, DetectorConfig] = {**model.DESIGNS, **ssdlite.DESIGNS}


def build(config: DetectorConfig) -> DetectorNetwork:
    """The network that a config describes, with random weights."""
    return ARCHITECTURES[config.architecture].network(config)
