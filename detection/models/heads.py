"""Prediction heads, residual prediction blocks and extra feature layers."""

import torch
from torch import Tensor, nn

from detection.models.priors import PRIORS_PER_CELL
from pelee.models.layers import ConvUnit


class ResBlock(nn.Module):
    """Residual prediction block (figure 5): (N, C, H, W) -> (N, 256, H, W), 1×1 shortcut plus 1×1, 3×3, 1×1.

    The branches are added before the ReLU, as in the network published by the authors.
    """

    out_channels = 256

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.shortcut = ConvUnit(in_channels, 256, 1, relu=False)
        self.residual = nn.Sequential(
            ConvUnit(in_channels, 128, 1), ConvUnit(128, 128, 3, padding=1), ConvUnit(128, 256, 1, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.residual(x))


class Head(nn.Module):
    """Class logits and box offsets of A priors per cell of a feature map: (N, C, H, W) -> (N, H·W·A, K), (N, H·W·A, 4).

    Args:
        num_outputs: K, object classes plus background.
        classify: (N, C, H, W) -> (N, A·K, H, W); a convolution with bias, or a sequence ending in one.
        regress: (N, C, H, W) -> (N, A·4, H, W).
    """

    def __init__(self, num_outputs: int, classify: nn.Module, regress: nn.Module) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.classify, self.regress = classify, regress

    @property
    def class_layer(self) -> str:
        """Name in this module of the convolution whose output is the class logits."""
        *_, last = (
            name for name, module in self.classify.named_modules(prefix="classify") if isinstance(module, nn.Conv2d)
        )
        return last

    @property
    def class_bias(self) -> Tensor:
        """Bias of the class logits, (A, K): a view of the parameter."""
        (*_, last) = (module for module in self.classify.modules() if isinstance(module, nn.Conv2d))
        assert last.bias is not None
        return last.bias.view(-1, self.num_outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # (N, A·K, H, W) -> (N, H, W, A·K) -> (N, H·W·A, K)
        logits = self.classify(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, self.num_outputs))
        offsets = self.regress(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4))
        return logits, offsets


class PredictionHead(Head):
    """Head of Pelee: one convolution for the class logits of six priors per cell and one for their offsets."""

    def __init__(self, in_channels: int, num_outputs: int, kernel_size: int) -> None:
        padding = kernel_size // 2
        super().__init__(
            num_outputs,
            nn.Conv2d(in_channels, PRIORS_PER_CELL * num_outputs, kernel_size, padding=padding),
            nn.Conv2d(in_channels, PRIORS_PER_CELL * 4, kernel_size, padding=padding),
        )


class ExtraBlock(nn.Module):
    """Extra feature layer after the backbone: a 1×1 convolution and a 3×3 one that shrinks the map.

    Stride 2 halves the map (10 to 5); stride 1 uses no padding (5 to 3, 3 to 1). A map too small for an unpadded 3×3
    convolution (small inputs) is padded and keeps its size.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.reduce = ConvUnit(in_channels, mid_channels, 1)
        self.shrink = ConvUnit(mid_channels, out_channels, 3, stride, padding=1 if stride == 2 else 0)

    @staticmethod
    def output_cells(cells: int, stride: int) -> int:
        """Output side in cells for an input side of `cells`."""
        if stride == 2:
            return (cells + 1) // 2
        return cells - 2 if cells >= 3 else cells

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        if self.stride == 1 and x.shape[-1] < 3:
            x = torch.nn.functional.pad(x, (1, 1, 1, 1))
        return self.shrink(x)


def initialize_xavier(*parts: nn.Module) -> None:
    """Initial weights of the convolutions of some parts: uniform by Xavier, zero biases."""
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
