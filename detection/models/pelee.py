"""Pelee: PeleeNet under a modified SSD (section 3 of the paper)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast

from torch import Tensor, nn

from data.errors import SettingsError
from detection.models.heads import ExtraBlock, PredictionHead, ResBlock, initialize_xavier
from detection.models.network import DetectorNetwork, check_config
from detection.models.priors import COCO_SIZES, VOC_SIZES, PriorMap, ssd_maps
from detection.models.registry import ARCHITECTURES
from pelee.models.backbone import Backbone
from pelee.models.peleenet import PeleeNet, PeleeNetConfig
from pelee.models.registry import create_backbone

EXTRA_CHANNELS = 256


@dataclass(frozen=True, slots=True)
class PeleeConfig:
    """Config of a Pelee network; the defaults are the paper's for VOC.

    Attributes:
        num_classes: object classes, without the background.
        input_size: side of the square input in pixels: a multiple of 16, at least 64.
        prior_sizes: smallest prior of each head as a fraction of the input, then the largest of the last head.
        res_blocks: a residual prediction block before every head; without it, the heads read the feature maps directly.
        head_kernel: kernel size of the prediction convolutions, 1 or 3.
        use_38x38: put the first head on the stride-8 map, as in SSD, instead of a second one on 19×19.
        backbone: the PeleeNet below; four stages, and a stem, for strides 4 to 32; unused by other backbones.
        backbone_model: name of the backbone; see `pelee.models.registry.create_backbone`.
    """

    architecture: ClassVar[str] = "pelee"

    num_classes: int = 20
    input_size: int = ARCHITECTURES["pelee"].input_size
    prior_sizes: tuple[float, ...] = VOC_SIZES
    res_blocks: bool = True
    head_kernel: int = 1
    use_38x38: bool = False
    backbone: PeleeNetConfig = field(default_factory=PeleeNetConfig)
    backbone_model: str = "peleenet"

    def __post_init__(self) -> None:
        check_config(self)
        if self.head_kernel not in (1, 3):
            raise SettingsError(f"head_kernel is {self.head_kernel}; expected 1 or 3")
        if self.backbone.stem == "none" or len(self.backbone.blocks) != 4:
            raise SettingsError("the detector's backbone needs a stem and four stages")

    @classmethod
    def from_card(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        """See `DetectorConfig.from_card`."""
        own = dict(settings)
        backbone = PeleeNetConfig(**own.pop("backbone"))
        return cls(num_classes=num_classes, input_size=input_size, backbone=backbone, **own)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        """See `DetectorConfig.from_settings`."""
        prior_sizes = {"voc": VOC_SIZES, "coco": COCO_SIZES}[settings["prior_sizes"]]
        return cls(num_classes=num_classes, input_size=input_size, **{**settings, "prior_sizes": prior_sizes})


def head_map_sizes(input_size: int, use_38x38: bool = False) -> tuple[int, ...]:
    """Feature map side of each of the six heads, in cells: 304 -> 19, 19, 10, 5, 3, 1."""
    stride8, stride16 = input_size // 8, input_size // 16
    stride32 = (stride16 + 1) // 2
    extra1 = ExtraBlock.output_cells(stride32, 2)
    extra2 = ExtraBlock.output_cells(extra1, 1)
    extra3 = ExtraBlock.output_cells(extra2, 1)
    return (stride8 if use_38x38 else stride16, stride16, stride32, extra1, extra2, extra3)


#: Published configs by name.
DESIGNS = {
    "pelee-voc": PeleeConfig(),
    "pelee-coco": PeleeConfig(num_classes=80, prior_sizes=COCO_SIZES),
}


class Pelee(DetectorNetwork):
    """The network of the paper; shapes as in `DetectorNetwork`, with 5,142 priors at 304×304."""

    config: PeleeConfig

    def __init__(self, config: PeleeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PeleeConfig()
        is_peleenet = config.backbone_model == "peleenet"
        self.backbone = PeleeNet(0, config.backbone) if is_peleenet else create_backbone(config.backbone_model)
        backbone = cast(Backbone, self.backbone)
        channels_by_stride = dict(zip(backbone.strides, backbone.feature_channels, strict=True))
        if missing := {16, 32, *([8] if config.use_38x38 else [])} - channels_by_stride.keys():
            raise SettingsError(f"{config.backbone_model} has no feature map of stride {min(missing)}")
        self.feature_channels = (channels_by_stride[16], channels_by_stride[32])
        self.extras = nn.ModuleList(
            [
                ExtraBlock(channels_by_stride[32], EXTRA_CHANNELS, EXTRA_CHANNELS, stride=2),
                ExtraBlock(EXTRA_CHANNELS, EXTRA_CHANNELS // 2, EXTRA_CHANNELS, stride=1),
                ExtraBlock(EXTRA_CHANNELS, EXTRA_CHANNELS // 2, EXTRA_CHANNELS, stride=1),
            ]
        )
        channels = [*self.feature_channels] + [EXTRA_CHANNELS] * 3
        if config.use_38x38:
            channels.insert(0, channels_by_stride[8])
        blocks = [ResBlock(c) if config.res_blocks else nn.Identity() for c in channels]
        self.blocks = nn.ModuleList(blocks)
        inputs = [ResBlock.out_channels] * len(channels) if config.res_blocks else channels
        if not config.use_38x38:
            inputs = [inputs[0], *inputs]  # the 19×19 map feeds two heads
        self.heads = nn.ModuleList(PredictionHead(c, config.num_classes + 1, config.head_kernel) for c in inputs)
        initialize_xavier(self.extras, self.blocks, self.heads)

    def make_prior_maps(self, input_size: int, sizes: tuple[float, ...]) -> tuple[PriorMap, ...]:
        return ssd_maps(head_map_sizes(input_size, self.config.use_38x38), sizes)

    def features(self, images: Tensor) -> list[Tensor]:
        return cast(Backbone, self.backbone).features(images)

    def forward_head(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        maps = features[-3:] if self.config.use_38x38 else features[-2:]  # strides (8,) 16 and 32
        x = maps[-1]
        for extra in self.extras:
            x = extra(x)
            maps.append(x)
        maps = [block(m) for block, m in zip(self.blocks, maps, strict=True)]
        if not self.config.use_38x38:
            maps = [maps[0], *maps]
        return self.apply_heads(maps)
