"""HarDNet: a DenseNet with harmonic links between layers, for less memory traffic.

Source: Chao et al., "HarDNet: A Low Memory Traffic Network", ICCV 2019 (arXiv 1909.00948), section 3 and the table of
its architectures. Parameters as published and as built: HarDNet-68 17.6 M (17,565,348), HarDNet-68DS 4.2 M
(4,180,602), HarDNet-39DS 3.5 M (3,488,228).
"""

from typing import NamedTuple

from torch import Tensor, nn

from data.errors import SettingsError
from pelee.models.layers import Normalize, check_share, concatenate, initialize


class Stage(NamedTuple):
    """Settings of a harmonic block and of the 1×1 convolution after it."""

    layers: int
    growth: int
    out_channels: int
    halved: bool  # the map, after it


class HarDNetDesign(NamedTuple):
    """Design, a row of the paper's table. Variants "DS" downsample by depthwise convolution, others by pooling."""

    stem: tuple[int, int]
    multiplier: float
    stages: tuple[Stage, ...]
    separable: bool
    dropout: float


_STAGES_68 = (
    Stage(8, 14, 128, True),
    Stage(16, 16, 256, False),
    Stage(16, 20, 320, True),
    Stage(16, 40, 640, True),
    Stage(4, 160, 1024, False),
)
_STAGES_39 = (Stage(4, 16, 96, True), Stage(16, 20, 320, True), Stage(8, 64, 640, True), Stage(4, 160, 1024, False))
DESIGNS = {
    "39ds": HarDNetDesign((24, 48), 1.6, _STAGES_39, True, 0.05),
    "68ds": HarDNetDesign((32, 64), 1.7, _STAGES_68, True, 0.05),
    "68": HarDNetDesign((32, 64), 1.7, _STAGES_68, False, 0.1),
}


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )


def _depthwise(channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels)
    )


def links(layer: int) -> list[int]:
    """Return the layers that `layer` (from 1) reads: 2^n before it, for every 2^n that divides it; 0 is the input."""
    return [layer - 2**n for n in range(layer.bit_length()) if layer % 2**n == 0]


class HarmonicBlock(nn.Module):
    """Harmonic block, (N, C, H, W) -> (N, out_channels, H, W): the odd layers and the last one, concatenated.

    A layer of n + 1 links has growth × multiplier^n channels, rounded to an even number.
    """

    def __init__(self, in_channels: int, growth: int, multiplier: float, layers: int, separable: bool) -> None:
        super().__init__()
        channels = [in_channels]
        self.layers = nn.ModuleList()
        for layer in range(1, layers + 1):
            width = int(growth * multiplier ** (len(links(layer)) - 1) + 1) // 2 * 2
            reads = sum(channels[link] for link in links(layer))
            self.layers.append(
                nn.Sequential(_conv(reads, width, 1), _depthwise(width)) if separable else _conv(reads, width, 3)
            )
            channels.append(width)
        self.kept = [layer for layer in range(1, layers + 1) if layer % 2 or layer == layers]
        self.out_channels = sum(channels[layer] for layer in self.kept)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for number, layer in enumerate(self.layers, 1):
            maps.append(layer(concatenate([maps[link] for link in links(number)])))
        return concatenate([maps[layer] for layer in self.kept])


class HarDNet(nn.Module):
    """HarDNet as a classifier: (N, 3, H, W) RGB in 0 to 255 -> (N, num_classes) logits; its last map is H/32 × W/32."""

    def __init__(self, num_classes: int, design: HarDNetDesign, dropout: float) -> None:
        super().__init__()
        self.normalize = Normalize()
        first, channels = design.stem
        self.stem = nn.Sequential(
            _conv(3, first, 3, 2),
            _conv(first, channels, 1 if design.separable else 3),
            _depthwise(channels, 2) if design.separable else nn.MaxPool2d(3, 2, 1),
        )
        self.stages = nn.Sequential()
        for stage in design.stages:
            block = HarmonicBlock(channels, stage.growth, design.multiplier, stage.layers, design.separable)
            channels = stage.out_channels
            self.stages.extend([block, _conv(block.out_channels, channels, 1)])
            if stage.halved:
                # Rounded up, as the depthwise convolution has it, so that small images leave a map, too.
                self.stages.append(_depthwise(channels, 2) if design.separable else nn.MaxPool2d(2, 2, ceil_mode=True))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(self.normalize(images))).mean((2, 3)))


def hardnet(num_classes: int = 1000, variant: str = "39ds", dropout: float | None = None) -> HarDNet:
    """Build a HarDNet classifier.

    Args:
        variant: "39ds", "68ds" or "68".
        dropout: drop probability before the classifier; None for the variant's own (0.05, 0.05, 0.1).
    """
    if variant not in DESIGNS:
        raise SettingsError(f"variant is {variant!r}; expected one of {', '.join(DESIGNS)}")
    design = DESIGNS[variant]
    return HarDNet(num_classes, design, check_share("dropout", design.dropout if dropout is None else dropout))
