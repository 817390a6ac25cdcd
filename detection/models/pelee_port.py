"""Pelee as the public PyTorch ports have it: five heads, and residual blocks without batch norm.

Source: github.com/yxlijun/Pelee.Pytorch, `peleenet.py`, `configs/` and `layers/functions/prior_box.py`. Its differences
from `detection.models.pelee`: one head reads the 19×19 map instead of two, each residual block has a ReLU after every
convolution and none after the sum, extra layers have other widths, priors are clipped and spaced by rounded steps, and
the input is not scaled. `detection.importing.port_weights` fills it with such weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from data.images.preprocess import MEAN
from detection.models.heads import PredictionHead, initialize_xavier
from detection.models.network import DetectorConfig, DetectorNetwork, PlainConfig, check_config
from detection.models.pelee import head_map_sizes
from detection.models.priors import PriorMap, clip_priors, ssd_maps
from detection.models.registry import ARCHITECTURES
from pelee.models.layers import ConvUnit, Normalize
from pelee.models.peleenet import PeleeNet

HEADS = 5
VOC_SIZES = (0.10, 0.20, 0.43, 0.66, 0.89, 1.12)
COCO_SIZES = (0.07, 0.15, 0.40, 0.65, 0.90, 1.15)
FEATURES = (512, 704)  # channels of the maps of strides 16 and 32
HEAD_CHANNELS = 256
#: (in, out channels, kernel size, stride, padding) of the units behind the backbone; each second one feeds a head.
EXTRAS = (
    (704, 128, 1, 1, 0), (128, 256, 3, 2, 1), (256, 128, 1, 1, 0), (128, 256, 3, 1, 0), (256, 128, 1, 1, 0),
    (128, 256, 3, 1, 0),
)  # fmt: skip
#: Cells that 304 pixels count as by the port's steps 16, 30, 60, 101 and 304, and those of the maps.
STEP_CELLS = tuple(304 / step for step in (16, 30, 60, 101, 304))
MAP_CELLS = (19, 10, 5, 3, 1)


@dataclass(frozen=True, slots=True)
class PeleePortConfig(PlainConfig):
    """Config of the ports' Pelee; the defaults are those for VOC.

    Attributes:
        num_classes: object classes, without the background.
        input_size: side of the square input in pixels: a multiple of 16, at least 272; the ports have 304 only.
        prior_sizes: smallest prior of each head as a fraction of the input, then the largest of the last head.
    """

    architecture: ClassVar[str] = "pelee-port"

    num_classes: int = 20
    input_size: int = ARCHITECTURES["pelee-port"].input_size
    prior_sizes: tuple[float, ...] = VOC_SIZES

    def __post_init__(self) -> None:
        check_config(self, HEADS)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        """See `DetectorConfig.from_settings`."""
        prior_sizes = {"voc": VOC_SIZES, "coco": COCO_SIZES}[settings["prior_sizes"]]
        return cls(num_classes=num_classes, input_size=input_size, prior_sizes=prior_sizes)


#: Designs by name.
DESIGNS: dict[str, DetectorConfig] = {
    "pelee-port-voc": PeleePortConfig(),
    "pelee-port-coco": PeleePortConfig(num_classes=80, prior_sizes=COCO_SIZES),
}


class PortBlock(nn.Module):
    """Residual block: (N, C, H, W) -> (N, 256, H, W), two branches of convolutions without bias, each with a ReLU."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(nn.Conv2d(in_channels, HEAD_CHANNELS, 1, bias=False), nn.ReLU(inplace=True))
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, 128, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 128, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, HEAD_CHANNELS, 1, bias=False),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        branches: Tensor = self.residual(x) + self.shortcut(x)
        return branches


class PeleePort(DetectorNetwork):
    """Pelee of the ports; shapes as in `DetectorNetwork`, with 2,976 priors at 304×304."""

    config: PeleePortConfig
    backbone: PeleeNet

    def __init__(self, config: PeleePortConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PeleePortConfig()
        self.backbone = PeleeNet(0)
        self.backbone.normalize = Normalize(MEAN, (1.0, 1.0, 1.0))
        self.feature_channels = FEATURES
        self.extras = nn.ModuleList(ConvUnit(*sizes) for sizes in EXTRAS)
        channels = [*FEATURES, *(sizes[1] for sizes in EXTRAS[1::2])]
        self.blocks = nn.ModuleList(PortBlock(each) for each in channels)
        self.heads = nn.ModuleList(PredictionHead(HEAD_CHANNELS, config.num_classes + 1, 1) for _ in channels)
        initialize_xavier(self.extras, self.blocks, self.heads)

    def make_prior_maps(self, input_size: int, sizes: tuple[float, ...]) -> tuple[PriorMap, ...]:
        cells = head_map_sizes(input_size)[1:]  # without the second head on the first map
        maps = ssd_maps(cells, sizes)
        spans = [own * step / usual for own, step, usual in zip(cells, STEP_CELLS, MAP_CELLS, strict=True)]
        return clip_priors(one._replace(span=span) for one, span in zip(maps, spans, strict=True))

    def features(self, images: Tensor) -> list[Tensor]:
        return self.backbone.features(images)

    def forward_head(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        maps = features[-2:]
        x = maps[-1]
        for index, extra in enumerate(self.extras):
            x = extra(x)
            if index % 2:
                maps.append(x)
        return self.apply_heads([block(m) for block, m in zip(self.blocks, maps, strict=True)])
