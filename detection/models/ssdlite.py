"""SSDLite on MobileNetV2, the baseline that the paper compares Pelee with.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, section 6.2 and table 6:
4.3 M parameters, 0.8 G multiply-adds and 22.1 mAP on COCO test-dev, at 320×320; Pelee's paper uses 300×300. Details
not given in the paper (priors, reduced widths of the extra layers, initial values) follow the authors' configuration,
`ssdlite_mobilenet_v2_coco` of TensorFlow's Object Detection API.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import SettingsError
from detection.models.heads import Head
from detection.models.network import DetectorNetwork, PlainConfig, check_config
from detection.models.priors import PRIORS_PER_CELL, PriorMap, cell_priors, ssd_maps
from detection.models.registry import ARCHITECTURES
from pelee.models.layers import IMAGENET_MEAN, IMAGENET_STD, Normalize

STRIDES = (16, 32, 64, 128, 256, 512)
EXTRA_CHANNELS = (512, 256, 256, 128)
#: 0.2 to 0.95 in even steps, and 1 as the largest of the last head.
PRIOR_SIZES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
FINEST_MAP_PRIORS = 3  # priors per cell of the finest map: fewer than elsewhere, and one smaller
EXPANSION_LAYER = 14  # index in torchvision's `features` of block 13, whose expansion feeds the first head
MIN_EXTRA_CHANNELS = 16  # lower bound of the extra layers' channels in narrow networks
INIT_STD = 0.03  # of the initial weights after the backbone


@dataclass(frozen=True, slots=True)
class SSDLiteConfig(PlainConfig):
    """Config of SSDLite on MobileNetV2; the defaults are the published ones, for VOC.

    Attributes:
        num_classes: object classes, without the background.
        input_size: side of the square input in pixels, at least 64.
        width: width multiplier of MobileNetV2 and of the extra layers.
        prior_sizes: smallest prior of each head as a fraction of the input, then the largest of the last head.
    """

    architecture: ClassVar[str] = "ssdlite-mobilenetv2"

    num_classes: int = 20
    input_size: int = ARCHITECTURES["ssdlite-mobilenetv2"].input_size
    width: float = 1.0
    prior_sizes: tuple[float, ...] = PRIOR_SIZES

    def __post_init__(self) -> None:
        check_config(self)
        if self.width <= 0:
            raise SettingsError(f"width is {self.width}; expected a multiplier above 0")


#: Published configs by name.
DESIGNS = {
    "ssdlite-mobilenetv2-voc": SSDLiteConfig(),
    "ssdlite-mobilenetv2-coco": SSDLiteConfig(num_classes=80),
}


def head_map_sizes(input_size: int) -> tuple[int, ...]:
    """Feature map side of each of the six heads in cells, rounded up: 300 -> 19, 10, 5, 3, 2, 1."""
    return tuple(-(-input_size // stride) for stride in STRIDES)


class MobileNetV2Maps(nn.Module):
    """MobileNetV2 of torchvision as a `pelee.models.backbone.Backbone`, with the tensor names of `mobilenet-v2`.

    It can be initialized from such a classifier or from torchvision's weights (`pelee.models.pretrained.read_weights`).

    Maps: expansion of block 13, (N, 576, H/16, W/16), and the last map, (N, 1280, H/32, W/32), rounded up.
    """

    strides = (16, 32)

    def __init__(self, width: float) -> None:
        from torchvision.models import mobilenet_v2

        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.network = mobilenet_v2(weights=None, width_mult=width)
        self.network.classifier = nn.Identity()
        layers = self.network.features
        self.feature_channels = (layers[EXPANSION_LAYER].conv[0].out_channels, layers[-1].out_channels)

    def features(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.features`."""
        layers = self.network.features
        x = layers[:EXPANSION_LAYER](self.normalize(images))
        expand, *rest = layers[EXPANSION_LAYER].conv
        expanded = x = expand(x)
        for part in (*rest, *layers[EXPANSION_LAYER + 1 :]):
            x = part(x)
        return [expanded, x]


def conv_bn_relu6(in_channels: int, out_channels: int, kernel_size: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU6, as in the backbone; an odd kernel preserves the map size."""
    from torchvision.ops import Conv2dNormActivation

    block: nn.Sequential = Conv2dNormActivation(
        in_channels, out_channels, kernel_size, groups=groups, activation_layer=nn.ReLU6
    )
    return block


class HalvingConv(nn.Conv2d):
    """A depthwise 3×3 convolution of stride 2: (N, C, H, W) -> (N, C, H/2, W/2), rounded up.

    A 1×1 map is convolved with stride 1, which is equivalent: with stride 2, the bfloat16 weight gradient of PyTorch
    2.15 reads uninitialized memory there (CPU, channels-last).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, 2, 1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        stride = 1 if x.shape[-2:] == (1, 1) else 2
        return F.conv2d(x, self.weight, self.bias, stride, 1, groups=self.groups)


class ExtraLayer(nn.Sequential):
    """Extra feature layer after the backbone: 1×1 to half the channels, `HalvingConv`, and 1×1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        mid_channels = out_channels // 2
        halve = nn.Sequential(HalvingConv(mid_channels), nn.BatchNorm2d(mid_channels), nn.ReLU6(inplace=True))
        super().__init__(conv_bn_relu6(in_channels, mid_channels), halve, conv_bn_relu6(mid_channels, out_channels))


class SeparableHead(Head):
    """Head of SSDLite: a depthwise 3×3 and a 1×1 convolution each for class logits and box offsets."""

    def __init__(self, in_channels: int, num_outputs: int, priors: int) -> None:
        classify, regress = (
            nn.Sequential(
                conv_bn_relu6(in_channels, in_channels, 3, groups=in_channels),
                nn.Conv2d(in_channels, priors * outputs, 1),
            )
            for outputs in (num_outputs, 4)
        )
        super().__init__(num_outputs, classify, regress)


def initialize_parts(*parts: nn.Module) -> None:
    """Initial weights of the layers after the backbone: normal with `INIT_STD`, zero biases."""
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class SSDLite(DetectorNetwork):
    """SSDLite on MobileNetV2; shapes as in `DetectorNetwork`, with 1,917 priors at 300×300."""

    config: SSDLiteConfig
    backbone: MobileNetV2Maps

    def __init__(self, config: SSDLiteConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SSDLiteConfig()
        self.backbone = MobileNetV2Maps(config.width)
        self.feature_channels = self.backbone.feature_channels
        channels = list(self.feature_channels)
        self.extras = nn.ModuleList()
        for channels_at_width_1 in EXTRA_CHANNELS:
            out = max(MIN_EXTRA_CHANNELS, int(channels_at_width_1 * config.width))
            self.extras.append(ExtraLayer(channels[-1], out))
            channels.append(out)
        priors = [FINEST_MAP_PRIORS] + [PRIORS_PER_CELL] * (len(channels) - 1)
        self.heads = nn.ModuleList(
            SeparableHead(c, config.num_classes + 1, count) for c, count in zip(channels, priors, strict=True)
        )
        initialize_parts(self.extras, self.heads)

    def make_prior_maps(self, input_size: int, sizes: tuple[float, ...]) -> tuple[PriorMap, ...]:
        """SSD's six priors per cell; on the finest map three: half the smallest size, and 2:1 and 1:2 at full size."""
        finest, *others = ssd_maps(head_map_sizes(input_size), sizes)
        _, _, wide, tall, *_ = cell_priors(sizes[0], sizes[1])
        return (PriorMap(finest.cells, ((sizes[0] / 2, sizes[0] / 2), wide, tall)), *others)

    def features(self, images: Tensor) -> list[Tensor]:
        return self.backbone.features(images)

    def forward_head(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        maps = list(features)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return self.apply_heads(maps)
