"""The convolution units that every PeleeNet part is made of, and their fusion for inference."""

from typing import Literal

import torch
from torch import Tensor, nn

from data.preprocess import MEAN, SCALE

Activation = Literal["post", "pre"]


class ConvUnit(nn.Sequential):
    """A convolution with its batch norm and ReLU, in the order that `activation` names.

    "post" is convolution, batch norm, ReLU (section 2.1 of the paper: the batch norm can be merged into the
    convolution for inference); "pre" is batch norm, ReLU, convolution, as DenseNet has it. `relu=False` leaves the
    ReLU out. Convolutions carry no bias: the batch norm has one. Shapes: (N, in, H, W) -> (N, out, H', W').
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        activation: Activation = "post",
        relu: bool = True,
    ) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        norm = nn.BatchNorm2d(out_channels if activation == "post" else in_channels)
        rectifier = [nn.ReLU(inplace=True)] if relu else []
        super().__init__(*([conv, norm, *rectifier] if activation == "post" else [norm, *rectifier, conv]))


class Normalize(nn.Module):
    """The input's normalisation, (x - mean) × scale, inside the network's graph.

    Takes (N, 3, H, W) RGB in 0 to 255, uint8 or floating, and gives the same shape in the weights' floating type.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Facts of the preprocessing, not weights: kept out of the state dict.
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images.to(self.mean.dtype) - self.mean) * SCALE


def fuse_conv_bn(module: nn.Module) -> nn.Module:
    """Merge every batch norm that follows a convolution into it, in place; returns the module, in eval mode.

    Only what computes the same is merged: a `ConvUnit` in "pre" order keeps its batch norm.
    """
    module.eval()
    for child in module.modules():
        if isinstance(child, ConvUnit) and isinstance(child[0], nn.Conv2d) and isinstance(child[1], nn.BatchNorm2d):
            child[0] = nn.utils.fusion.fuse_conv_bn_eval(child[0], child[1])
            child[1] = nn.Identity()
    return module
