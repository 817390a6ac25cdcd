"""SqueezeNext: blocks of two squeezing convolutions and a 3×3 split into a column and a row.

Source: Gholami et al., "SqueezeNext: Hardware-Aware Neural Network Design", 2018 (arXiv 1803.10615),
sections 2 and 3, and the authors' published
definitions, with these counts: 1.0-SqNxt-23 717,280 parameters (paper: 0.72 M), 23v5
930,016 (0.94 M), 2.0-SqNxt-23 2,361,728 (2.4 M), 23v5 3,222,912 (3.2 M).
"""

from typing import NamedTuple

from torch import Tensor, nn

from data.errors import SettingsError
from pelee.models.layers import Normalize, check_share, initialize

STEM, LAST = 64, 128  # channels of the first and the last convolution, whatever the width
CHANNELS = (32, 64, 128, 256)  # of the stages, at width 1


class SqueezeNextDesign(NamedTuple):
    """Design of a SqueezeNext.

    blocks: number in each stage. stem: kernel size of the first convolution. projected: the body of a stage's first
    block reads the output of its shortcut.
    """

    blocks: tuple[int, int, int, int]
    stem: int
    projected: bool


DESIGNS = {"23": SqueezeNextDesign((6, 6, 8, 1), 7, False), "23v5": SqueezeNextDesign((2, 4, 14, 1), 5, True)}


def _conv(in_channels: int, out_channels: int, kernel: tuple[int, int], stride: int = 1, pad: bool = True) -> nn.Module:
    padding = (kernel[0] // 2, kernel[1] // 2) if pad else 0
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Block(nn.Module):
    """Residual block, (N, C, H, W) -> (N, D, H/stride, W/stride), rounded up; squeezed to D/2, then D/4 (figure 1).

    Args:
        entry: the first of its stage, with a convolution in its shortcut; others keep the map's shape.
        column_first: 3×1 before 1×3; it alternates from block to block.
        projected: see `SqueezeNextDesign`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, entry: bool, column_first: bool, projected: bool = False
    ) -> None:
        super().__init__()
        half, quarter = out_channels // 2, out_channels // 4
        self.shortcut = _conv(in_channels, out_channels, (1, 1), stride) if entry else nn.Identity()
        self.projected = projected
        first, second = ((3, 1), (1, 3)) if column_first else ((1, 3), (3, 1))
        self.body = nn.Sequential(
            _conv(out_channels, half, (1, 1)) if projected else _conv(in_channels, half, (1, 1), stride),
            _conv(half, quarter, (1, 1)),
            _conv(quarter, half, first),
            _conv(half, half, second),
            _conv(half, out_channels, (1, 1)),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.shortcut(x)
        return self.relu(self.body(kept if self.projected else x) + kept)


class SqueezeNext(nn.Module):
    """SqueezeNext as a classifier: (N, 3, H, W) RGB in 0 to 255 -> (N, num_classes) logits.

    The stem takes no padding: with a 7×7 convolution 227 pixels become 111, 55, 28, 14 and 7.
    """

    def __init__(self, num_classes: int, design: SqueezeNextDesign, width: float, dropout: float) -> None:
        super().__init__()
        self.normalize = Normalize()
        channels = STEM
        self.stem = nn.Sequential(
            _conv(3, channels, (design.stem, design.stem), 2, pad=False), nn.MaxPool2d(3, 2, ceil_mode=True)
        )
        self.stages = nn.Sequential()
        for stage, (count, planes) in enumerate(zip(design.blocks, CHANNELS, strict=True)):
            out_channels = int(planes * width)
            for block in range(count):
                stride = 2 if stage and not block else 1
                column_first = len(self.stages) % 2 == 0
                self.stages.append(Block(channels, out_channels, stride, not block, column_first, design.projected))
                channels = out_channels
        self.last = _conv(channels, LAST, (1, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(LAST, num_classes, bias=False))
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stages(self.stem(self.normalize(images)))  # (N, C, H/32, W/32)
        return self.classifier(self.last(x).mean((2, 3)))


def squeezenext(num_classes: int = 1000, variant: str = "23", width: float = 1.0, dropout: float = 0.0) -> SqueezeNext:
    """Build a SqueezeNext classifier.

    Args:
        variant: "23", or "23v5", which moves blocks from the first stages to the third.
        width: multiplies the stages' channels; the paper has 1, 1.5 and 2.
        dropout: drop probability before the classifier.
    """
    if variant not in DESIGNS:
        raise SettingsError(f"variant is {variant!r}; expected one of {', '.join(DESIGNS)}")
    if width < 0.25:
        raise SettingsError(f"width is {width}; expected at least 0.25, 1 for the published network")
    return SqueezeNext(num_classes, DESIGNS[variant], width, check_share("dropout", dropout))
