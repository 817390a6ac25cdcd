"""Small networks for images of 32×32 pixels: a report's CNN of 795,000 parameters, and a small AlexNet.

Of the CNN the report gives each layer's parameters, 12,816 · 4,640 · 18,496 · 65,600 · 328,192 · 262,656 · 102,600,
and that its images, arrays of 3×32×32, were read as height 3, width 32, 32 channels. The rest follows:
  convolutions   5×5  32 -> 16:  25·32·16 + 16 =  12,816      dense  640 -> 512:  640·512 + 512 = 328,192
                 3×3  16 -> 32:   9·16·32 + 32 =   4,640             512 -> 512:  512·512 + 512 = 262,656
                 3×3  32 -> 64:   9·32·64 + 64 =  18,496             512 -> 200:  512·200 + 200 = 102,600
                 4×4  64 -> 64:  16·64·64 + 64 =  65,600
640 is 64 channels on 10 cells: what one 3×3 pooling leaves of a map of 3×32, 1×10. That it is a maximum, that it comes
after the fourth convolution, that the convolutions keep the size, and the ReLUs between are our reconstruction.
"""

import torch
from torch import Tensor, nn

from data.errors import SettingsError
from pelee.models.layers import Normalize

SIDE = 32


def _check_side(images: Tensor, name: str) -> None:
    """Raise `SettingsError` for images whose size the dense layers do not take."""
    height, width = images.shape[-2:]
    if (height, width) != (SIDE, SIDE):
        raise SettingsError(
            f"{name} takes images of {SIDE}×{SIDE} pixels only, got {width}×{height}; set the input size to {SIDE}"
        )


def _initialize(network: nn.Module) -> None:
    """Initialize by He et al. 2015: without batch norm the initial weights decide whether the network trains."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """Convolution that keeps the map's size, with ReLU; an even kernel pads more at the end, as in Keras."""
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    return nn.Sequential(
        nn.ZeroPad2d((before, after, before, after)),
        nn.Conv2d(in_channels, out_channels, kernel_size),
        nn.ReLU(inplace=True),
    )


class Cnn795K(nn.Module):
    """The report's CNN, with its reading of the images or with the corrected one.

    Args:
        num_classes: classes; the report's 795,000 parameters are with 200.
        corrected: read the colors as channels. The maps are 32×32 then, and pooled twice, after the second and the
            fourth convolution, to 3×3: 576 numbers for the dense layers, the nearest to 640 that this pooling gives,
            and 750,632 parameters. Otherwise a row of the image holds the channels, and one color is a map's row.

    Shapes: (N, 3, 32, 32) RGB in 0 to 255 -> (N, num_classes) logits. Another size is a SettingsError.
    """

    def __init__(self, num_classes: int = 200, *, corrected: bool = False) -> None:
        super().__init__()
        self.corrected = corrected
        self.normalize = Normalize()
        self.features = nn.Sequential(
            _conv(3 if corrected else SIDE, 16, 5),
            _conv(16, 32, 3),
            nn.MaxPool2d(3) if corrected else nn.Identity(),
            _conv(32, 64, 3),
            _conv(64, 64, 4),
            nn.MaxPool2d(3),
        )
        self.classifier = nn.Sequential(
            nn.Linear(64 * (9 if corrected else 10), 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, num_classes),
        )
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        _check_side(images, "cnn-795k-corrected" if self.corrected else "cnn-795k")
        x = self.normalize(images)  # (N, colours, rows, columns)
        if not self.corrected:
            x = x.permute(0, 3, 1, 2)  # colours are the height, rows the width, columns the channels: (N, 32, 3, 32)
        return self.classifier(torch.flatten(self.features(x), 1))


class AlexNet32(nn.Module):
    """AlexNet for 32×32 pixels, about 800 K parameters: 797,290 with 10 classes.

    Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012: five
    convolutions with overlapping poolings after the first, second and fifth, two hidden dense layers with dropout.
    The report says "about 800 K" and no more; ours are the widths, a quarter of the paper's channels and an eighth of
    its dense layers, the first convolution of 5×5 without a stride, one tower, and no response normalization.

    Args:
        num_classes: classes.
        dropout: drop probability before both hidden dense layers.

    Shapes: (N, 3, 32, 32) RGB in 0 to 255 -> (N, num_classes) logits. Another size is a SettingsError.
    """

    def __init__(self, num_classes: int = 10, *, dropout: float = 0.5) -> None:
        super().__init__()
        if not 0 <= dropout <= 1:
            raise SettingsError(f"dropout is {dropout}; expected a probability, 0 to 1")
        self.normalize = Normalize()
        self.features = nn.Sequential(
            _conv(3, 24, 5),
            nn.MaxPool2d(3, 2),  # (N, 24, 15, 15)
            _conv(24, 64, 5),
            nn.MaxPool2d(3, 2),  # (N, 64, 7, 7)
            _conv(64, 96, 3),
            _conv(96, 96, 3),
            _conv(96, 64, 3),
            nn.MaxPool2d(3, 2),  # (N, 64, 3, 3)
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(64 * 9, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, num_classes),
        )
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        _check_side(images, "alexnet-32")
        return self.classifier(torch.flatten(self.features(self.normalize(images)), 1))
