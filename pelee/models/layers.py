"""The convolution units that every PeleeNet part is made of, and their fusion for inference."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from data.errors import SettingsError
from data.images.preprocess import LUMA, MEAN, SCALE

Activation = Literal["post", "pre"]
# What torchvision's weights are made for, for `Normalize`.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class ConvUnit(nn.Sequential):
    """A convolution with its batch norm and ReLU, in the order that `activation` names.

    "post" is convolution, batch norm, ReLU (section 2.1 of the paper: the batch norm can be merged into the
    convolution for inference); "pre" is batch norm, ReLU, convolution, as DenseNet has it. `relu=False` leaves the
    ReLU out. Convolutions carry no bias, as the batch norm has one, but where `bias` asks for a design that counts it.
    Shapes: (N, in, H, W) -> (N, out, H', W').
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
        bias: bool = False,
    ) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        norm = nn.BatchNorm2d(out_channels if activation == "post" else in_channels)
        rectifier = [nn.ReLU(inplace=True)] if relu else []
        super().__init__(*([conv, norm, *rectifier] if activation == "post" else [norm, *rectifier, conv]))


class Normalize(nn.Module):
    """The input's normalization, (x - mean) / std, inside the network's graph; the default is the paper's.

    Takes (N, 3, H, W) RGB in 0 to 255, uint8 or floating, and gives the same shape in the weights' floating type.

    Args:
        mean, std: of R, G and B in units of 0 to 255; no std is the paper's, × 0.017 for every channel.
        grey: take the image's grey (ITU-R BT.601) for every channel first.

    Raises:
        SettingsError: not three finite numbers each, a std that is not above 0.
    """

    mean: Tensor
    scale: Tensor | float
    luma: Tensor | None

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] | None = None, grey: bool = False) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std or (1.0, 1.0, 1.0))):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise SettingsError(f"normalization: {name} is {values}; expected three numbers, of R, G and B")
        if std and min(std) <= 0:
            raise SettingsError(f"normalization: std is {std}; expected numbers above 0")
        given = {"mean": tuple(mean), "std": tuple(std) if std else None, "grey": grey}
        usual = {"mean": MEAN, "std": None, "grey": False}
        #: What it was made with, for a card's `architecture_settings`: empty where it is the paper's.
        self.settings: dict[str, Any] = {key: value for key, value in given.items() if value} if given != usual else {}
        # Facts of the preprocessing, not weights: kept out of the state dict.
        self.register_buffer("mean", _by_channel(mean), persistent=False)
        if std:
            self.register_buffer("scale", 1 / _by_channel(std), persistent=False)
        else:
            self.scale = SCALE  # a plain number, so that networks trained with it compute what they did, bit for bit
        self.register_buffer("luma", _by_channel(LUMA) if grey else None, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        x = images.to(self.mean.dtype)
        if self.luma is not None:
            x = (x * self.luma).sum(1, keepdim=True)  # (N, 1, H, W), and by the subtraction (N, 3, H, W) again
        return (x - self.mean) * self.scale


def _by_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def fuse_conv_bn(module: nn.Module) -> nn.Module:
    """Merge every batch norm that follows a convolution into it, in place; returns the module, in eval mode.

    Only what computes the same is merged, neighbours in a plain sequence: `ConvUnit`s and torchvision's units, but a
    `ConvUnit` in "pre" order keeps its batch norm.
    """
    module.eval()
    for child in module.modules():
        if not isinstance(child, nn.Sequential) or type(child).forward is not nn.Sequential.forward:
            continue
        for place, (conv, norm) in enumerate(pairwise(list(child))):
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
                continue
            if type(norm).forward is nn.BatchNorm2d.forward:  # without an activation
                child[place] = nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
                child[place + 1] = nn.Identity()
    return module


def check_share(name: str, value: float) -> float:
    """The value, a share or probability; SettingsError outside 0 to 1."""
    if not 0 <= value <= 1:
        raise SettingsError(f"{name} is {value}; expected 0 to 1")
    return value


def initialize(network: nn.Module) -> None:
    """Normal initialization of every convolution by what goes out of it (He et al. 2015), biases at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # Of a depthwise one PyTorch's fan-out counts all groups' outputs; its fan-in is the fan-out of one.
            mode: Literal["fan_in", "fan_out"] = "fan_in" if module.groups > 1 else "fan_out"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
