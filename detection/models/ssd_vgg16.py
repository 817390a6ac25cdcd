"""SSD300 on VGG-16, a network of torchvision's published detectors.

Source: torchvision.models.detection, `ssd300_vgg16`: layers, normalization, priors and limit of the decoding.
`detection.importing.torchvision_weights` fills it with such weights; the tensor names in `backbone.network` are those
of torchvision's classifier.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detection.models.heads import Head, initialize_xavier
from detection.models.network import DetectorConfig, PlainConfig, check_config
from detection.models.priors import COCO_SIZES, PriorMap, clip_priors, ssd_maps
from detection.models.registry import ARCHITECTURES
from detection.models.ssdlite_mobilenetv3 import TorchvisionNetwork, check_background
from pelee.models.layers import Normalize

VGG_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0 is a 2×2 max pooling
THIRD_POOLING = 9  # index in `VGG_LAYERS`
VGG_SECOND_PART = 23  # index in VGG's `features` of the pooling after conv4_3
SCALE_START = 20.0  # of the normalized map of conv4_3 (section 3.1 of the SSD paper)
#: (in, mid, out channels, stride) of SSD300's extra layers, conv8_2 to conv11_2; stride 1 has no padding.
VGG_EXTRAS = ((1024, 256, 512, 2), (512, 128, 256, 2), (256, 128, 256, 1), (256, 128, 256, 1))
VGG_PRIORS = (4, 6, 6, 6, 4, 4)  # per cell; those of four lack the ratios 3 and 1/3


@dataclass(frozen=True, slots=True)
class SSD300Config(PlainConfig):
    """Config of SSD300 on VGG-16; the defaults are torchvision's, for VOC's number of classes.

    Attributes:
        num_classes, prior_sizes, background_outputs: as in `detection.models.ssdlite_mobilenetv3`.
        input_size: side of the square input in pixels, at least 268, for a last map of one cell or more.
    """

    architecture: ClassVar[str] = "ssd300-vgg16"

    num_classes: int = 20
    input_size: int = ARCHITECTURES["ssd300-vgg16"].input_size
    prior_sizes: tuple[float, ...] = COCO_SIZES
    background_outputs: int = 1

    def __post_init__(self) -> None:
        check_config(self)
        check_background(self.background_outputs)


#: Design by name; as in `detection.models.ssdlite_mobilenetv3`.
DESIGNS: dict[str, DetectorConfig] = {"ssd300-vgg16-coco": SSD300Config(num_classes=80, background_outputs=11)}


class VGG16Maps(nn.Module):
    """VGG-16 as SSD uses it: up to conv5_3, with fully connected layers 6 and 7 as (dilated) convolutions.

    Maps: conv4_3 scaled to `scale_weight`, (N, 512, H/8, W/8), and layer 7, (N, 1024, H/16, W/16).
    """

    def __init__(self) -> None:
        super().__init__()
        # torchvision's mean; its deviation of 1/255 undoes the division by 255.
        self.normalize = Normalize(tuple(255 * mean for mean in (0.48235, 0.45882, 0.40784)), (1.0, 1.0, 1.0))
        self.scale_weight = nn.Parameter(torch.full((512,), SCALE_START))
        layers: list[nn.Module] = []
        before = 3
        for index, channels in enumerate(VGG_LAYERS):
            if channels:
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
            else:
                # The third rounds up, so that 300 pixels give the paper's 38 cells.
                layers.append(nn.MaxPool2d(2, ceil_mode=index == THIRD_POOLING))
        self.network = nn.ModuleDict({"features": nn.Sequential(*layers)})
        self.fc = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(inplace=True),
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """The two maps of (N, 3, H, W) images in 0 to 255."""
        layers = cast(nn.Sequential, self.network["features"])
        x = layers[:VGG_SECOND_PART](self.normalize(images))
        scaled = self.scale_weight.view(1, -1, 1, 1) * F.normalize(x)
        return [scaled, self.fc(layers[VGG_SECOND_PART:](x))]


class SSD300(TorchvisionNetwork):
    """SSD on VGG-16; shapes as in `DetectorNetwork`, with 8,732 priors at 300×300."""

    config: SSD300Config
    backbone: VGG16Maps

    def __init__(self, config: SSD300Config | None = None) -> None:
        super().__init__()
        self.config = config = config or SSD300Config()
        self.backbone = VGG16Maps()
        self.feature_channels = (1024, VGG_EXTRAS[0][2])
        self.extras = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, mid, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(mid, after, 3, stride, padding=1 if stride == 2 else 0),
                nn.ReLU(inplace=True),
            )
            for before, mid, after, stride in VGG_EXTRAS
        )
        self.background_outputs = config.background_outputs
        outputs = config.num_classes + config.background_outputs
        channels = (512, 1024, *(after for _, _, after, _ in VGG_EXTRAS))
        self.heads = nn.ModuleList(
            Head(outputs, *(nn.Conv2d(each, priors * numbers, 3, padding=1) for numbers in (outputs, 4)))
            for each, priors in zip(channels, VGG_PRIORS, strict=True)
        )
        initialize_xavier(self.backbone.fc, self.extras, self.heads)

    def make_prior_maps(self, input_size: int, sizes: tuple[float, ...]) -> tuple[PriorMap, ...]:
        finest = -(-(input_size // 4) // 2)
        middle = finest // 2
        cells = [finest, middle, -(-middle // 2)]
        cells += [-(-cells[-1] // 2)]
        cells += [cells[-1] - 2, cells[-1] - 4]
        # The published steps: 8, 16, 32, 64 pixels, and for the last two maps of 3 and 1 cells 100 and 300.
        spans = [input_size / step for step in (8, 16, 32, 64)] + [0.0, 0.0]
        maps = ssd_maps(cells, sizes)
        return clip_priors(
            PriorMap(one.cells, one.shapes[:priors], span)
            for one, priors, span in zip(maps, VGG_PRIORS, spans, strict=True)
        )

    def features(self, images: Tensor) -> list[Tensor]:
        maps = self.backbone.features(images)
        return [*maps, self.extras[0](maps[-1])]

    def forward_head(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        maps = list(features)
        for extra in list(self.extras)[1:]:
            maps.append(extra(maps[-1]))
        return self.apply_heads(maps)
