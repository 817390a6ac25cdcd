"""Two DenseNets for Tiny ImageNet that concatenate blocks of convolutions, not single layers.

Source: Abai, Rajmalwar, "DenseNet Models for Tiny ImageNet Classification" (arXiv 1904.10429), and a student report
that rebuilt both. From the report: the channels, where maps are joined and normalised, the 1×1 convolution to the
classes with the average over the map behind it, and the counts, 17.9 M and 11.8 M (11,802,440 weights and biases of
convolutions). Ours: the input's normalization, which lies in every network here; variance scaling for both networks
(the report names it for the second, and left Keras' Glorot, its like, in the first); and the order of channels in
space-to-depth, that of PyTorch, which only renames what the next convolution reads.
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import SettingsError
from pelee.models.layers import ConvUnit, Normalize, concatenate


def _block(in_channels: int, widths: tuple[int, ...], bias: bool = False) -> nn.Sequential:
    """Sequence of 3×3 convolutions of the given widths: (N, C, H, W) -> (N, widths[-1], H, W)."""
    inputs = (in_channels, *widths[:-1])
    return nn.Sequential(
        *(ConvUnit(before, after, 3, padding=1, bias=bias) for before, after in zip(inputs, widths, strict=True))
    )


def _initialize(network: nn.Module) -> None:
    """Initialize as Keras' VarianceScaling: normal with variance 1 / fan-in, truncated at two standard deviations."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # The cut narrows the distribution to 0.8796 of its deviation.
            deviation = math.sqrt(1 / module.weight[0].numel()) / 0.87962566103423978
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class TinyDenseNet1(nn.Module):
    """First network: five convolutions a block; its map is pooled and joined to its input, halved by space-to-depth.

    Args:
        num_classes: classes.

    Shapes: (N, 3, H, W) RGB in 0 to 255, H and W multiples of 8 -> (N, num_classes) logits. Another size is a
    SettingsError.
    """

    widths = ((32, 64, 128, 256, 512), (64, 128, 256, 512, 1024), (32, 128, 256, 512, 1024))

    def __init__(self, num_classes: int = 200) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.blocks = nn.ModuleList()
        channels = 3
        for index, widths in enumerate(self.widths):
            self.blocks.append(_block(channels, widths))
            channels = 4 * channels + widths[-1] if index else widths[-1]  # 512, 3072, 13312
        self.pool = nn.MaxPool2d(2)
        self.classifier = ConvUnit(channels, num_classes, 1, relu=False)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % 8 or width % 8:
            raise SettingsError(f"tiny-densenet-1 takes sides that are multiples of 8 pixels, got {width}×{height}")
        first, *others = self.blocks
        x = self.pool(first(self.normalize(images)))  # (N, 512, H/2, W/2)
        for block in others:
            x = concatenate([F.pixel_unshuffle(x, 2), self.pool(block(x))])  # (N, 3072 and 13312, H/4, H/8, ...)
        return self.classifier(x).mean((2, 3))


class TinyDenseNet2(nn.Module):
    """Second network: four convolutions of one width a block; its input is joined to its map, then both are pooled.

    Args:
        num_classes: classes.

    Shapes: (N, 3, H, W) RGB in 0 to 255, H and W at least 8 -> (N, num_classes) logits.
    """

    widths = (128, 256, 512)

    def __init__(self, num_classes: int = 200) -> None:
        super().__init__()
        self.normalize = Normalize()
        channels = 32
        self.stem = _block(3, (channels,), bias=True)
        self.blocks, self.norms = nn.ModuleList(), nn.ModuleList()
        for width in self.widths:
            self.blocks.append(_block(channels, (width,) * 4, bias=True))
            channels += width  # 160, 416, 928
            self.norms.append(nn.BatchNorm2d(channels))
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(self.normalize(images))  # (N, 32, H, W)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = self.pool(norm(concatenate([x, block(x)])))  # (N, 160, 416 and 928, H/2, ...)
        return self.classifier(x).mean((2, 3))
