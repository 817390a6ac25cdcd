"""SSDLite320 on MobileNetV3-Large, a network of torchvision's published detectors.

Source: torchvision.models.detection, `ssdlite320_mobilenet_v3_large`: layers, normalization, priors and limit of the
decoding. `detection.importing.torchvision_weights` fills it with such weights; the tensor names in `backbone.network`
are those of torchvision's classifier.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from data.errors import SettingsError
from detection.models import ssdlite
from detection.models.network import DetectorConfig, DetectorNetwork, PlainConfig, check_config
from detection.models.priors import PRIORS_PER_CELL, PriorMap, clip_priors, ssd_maps
from detection.models.registry import ARCHITECTURES
from pelee.models.layers import Normalize

EXPANSION_LAYER = 13  # index in MobileNetV3's `features` of the block whose expansion feeds the first head
EXPANSION_CHANNELS = 672
REDUCED_CHANNELS, FULL_CHANNELS = 480, 960  # of the last map
NORM_EPS, NORM_MOMENTUM = 0.001, 0.03  # of all batch norms


def check_background(outputs: int) -> None:
    """Raise SettingsError for a number of background logits below 1."""
    if outputs < 1:
        raise SettingsError(f"background_outputs is {outputs}; expected at least 1")


def fold_background(logits: Tensor, outputs: int) -> Tensor:
    """Merge the first `outputs` logits into one for the background: (..., outputs + C) -> (..., 1 + C).

    The softmax of the result is that of all logits: the probability of the background is the sum of theirs.
    """
    if outputs == 1:
        return logits
    return torch.cat([logits[..., :outputs].logsumexp(-1, keepdim=True), logits[..., outputs:]], -1)


class TorchvisionNetwork(DetectorNetwork):
    """Base of torchvision's detectors: limit of the decoding, heads on six maps, background of several outputs.

    Attributes:
        background_outputs: as in `SSDLite320Config`.
    """

    background_outputs: int
    log_limit = math.log(1000 / 16)  # `BoxCoder.bbox_xform_clip` of torchvision

    def apply_heads(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        logits, offsets = super().apply_heads(maps)
        return fold_background(logits, self.background_outputs), offsets


@dataclass(frozen=True, slots=True)
class SSDLite320Config(PlainConfig):
    """Config of SSDLite320 on MobileNetV3-Large; the defaults are torchvision's, for VOC's number of classes.

    Attributes:
        num_classes: object classes, without the background.
        input_size: side of the square input in pixels, at least 64.
        prior_sizes: smallest prior of each head as a fraction of the input, then the largest of the last head.
        background_outputs: logits of a prior that are background: 1, and one for each label that is no class.
        reduced_tail: the last map has 480 channels instead of 960, as in the published weights.
    """

    architecture: ClassVar[str] = "ssdlite320-mobilenetv3"

    num_classes: int = 20
    input_size: int = ARCHITECTURES["ssdlite320-mobilenetv3"].input_size
    prior_sizes: tuple[float, ...] = ssdlite.PRIOR_SIZES
    background_outputs: int = 1
    reduced_tail: bool = True

    def __post_init__(self) -> None:
        check_config(self)
        check_background(self.background_outputs)


#: Design by name; the published weights are for COCO, whose 80 classes have labels up to 90.
DESIGNS: dict[str, DetectorConfig] = {
    "ssdlite320-mobilenetv3-coco": SSDLite320Config(num_classes=80, background_outputs=11)
}


class MobileNetV3Maps(nn.Module):
    """MobileNetV3-Large of torchvision as a `pelee.models.backbone.Backbone`.

    Maps: expansion of block 13, (N, 672, H/16, W/16), and the last map, (N, 480 or 960, H/32, W/32), rounded up.
    """

    strides = (16, 32)

    def __init__(self, reduced_tail: bool) -> None:
        from torchvision.models import mobilenet_v3_large

        super().__init__()
        self.normalize = Normalize((127.5,) * 3, (127.5,) * 3)
        self.network = mobilenet_v3_large(weights=None, reduced_tail=reduced_tail)
        self.network.classifier = nn.Identity()
        self.feature_channels = (EXPANSION_CHANNELS, REDUCED_CHANNELS if reduced_tail else FULL_CHANNELS)

    def features(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.features`."""
        layers = self.network.features
        x = layers[:EXPANSION_LAYER](self.normalize(images))
        expand, *rest = layers[EXPANSION_LAYER].block
        expanded = x = expand(x)
        for part in (*rest, *layers[EXPANSION_LAYER + 1 :]):
            x = part(x)
        return [expanded, x]


class SSDLite320(TorchvisionNetwork):
    """SSDLite on MobileNetV3-Large; shapes as in `DetectorNetwork`, with 3,234 priors at 320×320."""

    config: SSDLite320Config
    backbone: MobileNetV3Maps

    def __init__(self, config: SSDLite320Config | None = None) -> None:
        super().__init__()
        self.config = config = config or SSDLite320Config()
        self.backbone = MobileNetV3Maps(config.reduced_tail)
        self.feature_channels = self.backbone.feature_channels
        channels = [*self.feature_channels, *ssdlite.EXTRA_CHANNELS]
        self.extras = nn.ModuleList(ssdlite.ExtraLayer(before, after) for before, after in pairwise(channels[1:]))
        self.background_outputs = config.background_outputs
        outputs = config.num_classes + config.background_outputs
        self.heads = nn.ModuleList(ssdlite.SeparableHead(each, outputs, PRIORS_PER_CELL) for each in channels)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = NORM_EPS, NORM_MOMENTUM
        ssdlite.initialize_parts(self.extras, self.heads)

    def make_prior_maps(self, input_size: int, sizes: tuple[float, ...]) -> tuple[PriorMap, ...]:
        return clip_priors(ssd_maps(ssdlite.head_map_sizes(input_size), sizes))

    def features(self, images: Tensor) -> list[Tensor]:
        return self.backbone.features(images)

    def forward_head(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        maps = list(features)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return self.apply_heads(maps)
