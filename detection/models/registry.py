"""Registry of detector architectures, by the name used in settings, model cards and tables."""

from collections.abc import Callable
from typing import Any, NamedTuple

from detection.models import pelee as model
from detection.models import ssdlite
from detection.models.network import DetectorConfig, DetectorNetwork


class Architecture(NamedTuple):
    """Descriptor of an architecture: its config class, and a builder of a network from a config."""

    config: type[DetectorConfig]
    network: Callable[[Any], DetectorNetwork]


ARCHITECTURES = {
    config.architecture: Architecture(config, network)
    for config, network in ((model.PeleeConfig, model.Pelee), (ssdlite.SSDLiteConfig, ssdlite.SSDLite))
}
#: Published configs by name.
DESIGNS: dict[str, DetectorConfig] = {**model.DESIGNS, **ssdlite.DESIGNS}


def build(config: DetectorConfig) -> DetectorNetwork:
    """Build the network described by a config, with random weights."""
    return ARCHITECTURES[config.architecture].network(config)
