"""Registry of detector architectures, by the name used in settings, model cards and tables. Imports no torch.

To add an architecture, write a module with a config (`detection.models.network.DetectorConfig`) and a network
(`DetectorNetwork`), and register it:
`ARCHITECTURES["mine"] = Architecture("my_detector:MyConfig", "my_detector:MyDetector", input_size=320)`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.dotted_path import load_object
from data.errors import SettingsError

if TYPE_CHECKING:
    from detection.models.network import DetectorConfig, DetectorNetwork

MIN_INPUT_SIZE = 64


@dataclass(frozen=True, slots=True)
class Architecture:
    """Descriptor of a detector architecture.

    Attributes:
        config: "module:name" of the config class.
        network: "module:name" of the network class; it takes a config.
        input_size: default side of the square input in pixels.
        input_multiple: the input side must be a multiple of this.
        min_input_size: smallest input side.
        settings: names of the training settings that `DetectorConfig.from_settings` reads; a setting that is in another
            architecture's list only cannot be set.
        designs: "module:name" of the published configs, a mapping by name; "" for none.
    """

    config: str
    network: str
    input_size: int
    input_multiple: int = 1
    min_input_size: int = MIN_INPUT_SIZE
    settings: tuple[str, ...] = ()
    designs: str = ""

    def config_class(self) -> "type[DetectorConfig]":
        """Import the config class."""
        config: type[DetectorConfig] = load_object(self.config)
        return config

    def check_input_size(self, size: int) -> int:
        """Return `size` (pixels) if it is a valid input side. Raises SettingsError otherwise."""
        if size < self.min_input_size or size % self.input_multiple:
            wanted = f"a multiple of {self.input_multiple}, " if self.input_multiple > 1 else ""
            raise SettingsError(f"input size {size} does not fit; expected {wanted}at least {self.min_input_size}")
        return size


ARCHITECTURES = {
    "pelee": Architecture(
        "detection.models.pelee:PeleeConfig",
        "detection.models.pelee:Pelee",
        input_size=304,
        input_multiple=16,
        settings=("prior_sizes", "res_blocks", "head_kernel", "use_38x38", "backbone_model"),
        designs="detection.models.pelee:DESIGNS",
    ),
    "pelee-port": Architecture(
        "detection.models.pelee_port:PeleePortConfig",
        "detection.models.pelee_port:PeleePort",
        input_size=304,
        input_multiple=16,
        min_input_size=272,
        settings=("prior_sizes",),
        designs="detection.models.pelee_port:DESIGNS",
    ),
    "ssdlite-mobilenetv2": Architecture(
        "detection.models.ssdlite:SSDLiteConfig",
        "detection.models.ssdlite:SSDLite",
        input_size=300,
        settings=("prior_sizes",),
        designs="detection.models.ssdlite:DESIGNS",
    ),
    "ssdlite320-mobilenetv3": Architecture(
        "detection.models.ssdlite_mobilenetv3:SSDLite320Config",
        "detection.models.ssdlite_mobilenetv3:SSDLite320",
        input_size=320,
        designs="detection.models.ssdlite_mobilenetv3:DESIGNS",
    ),
    "ssd300-vgg16": Architecture(
        "detection.models.ssd_vgg16:SSD300Config",
        "detection.models.ssd_vgg16:SSD300",
        input_size=300,
        min_input_size=268,
        designs="detection.models.ssd_vgg16:DESIGNS",
    ),
}


def published_designs() -> "dict[str, DetectorConfig]":
    """Published configs of all architectures, by name."""
    found: dict[str, DetectorConfig] = {}
    for entry in ARCHITECTURES.values():
        found |= load_object(entry.designs) if entry.designs else {}
    return found


def build(config: "DetectorConfig") -> "DetectorNetwork":
    """Build the network described by a config, with random weights."""
    network: DetectorNetwork = load_object(ARCHITECTURES[config.architecture].network)(config)
    return network
