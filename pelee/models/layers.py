"""Convolution units (convolution, batch norm, ReLU), input normalization; batch norm after training, and fused."""

import math
from collections.abc import Iterable, Sequence
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
    """Convolution, batch norm and ReLU, in the order given by `activation`.

    "post" is convolution, batch norm, ReLU (section 2.1 of the paper: the batch norm can be merged into the
    convolution for inference); "pre" is batch norm, ReLU, convolution, as DenseNet has it. `relu=False` omits
    the ReLU. Convolutions have no bias, since the batch norm has one, unless `bias` is set for a design that counts it.
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
    """Input normalization, (x - mean) / std, as a part of the network; the defaults are those of the paper.

    Shapes: (N, 3, H, W) RGB, 0 to 255, uint8 or floating point -> the same shape in the weights' floating type.

    Args:
        mean, std: of R, G and B, in units of 0 to 255; without std, × 0.017 as in the paper.
        grey: convert to grayscale (ITU-R BT.601) first; each channel is the gray value.

    Raises:
        SettingsError: mean or std are not three finite numbers, or a std is not positive.
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
        #: Arguments that differ from the defaults, for a card's `architecture_settings`.
        self.settings: dict[str, Any] = {key: value for key, value in given.items() if value} if given != usual else {}
        # Constants of the preprocessing, not weights: not in the state dict.
        self.register_buffer("mean", _by_channel(mean), persistent=False)
        if std:
            self.register_buffer("scale", 1 / _by_channel(std), persistent=False)
        else:
            self.scale = SCALE  # a float, so that results of trained networks stay bit-identical
        self.register_buffer("luma", _by_channel(LUMA) if grey else None, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        x = images.to(self.mean.dtype)
        if self.luma is not None:
            x = (x * self.luma).sum(1, keepdim=True)  # (N, 1, H, W); subtracting the mean broadcasts to 3 channels
        return (x - self.mean) * self.scale


def _by_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def concatenate(maps: list[Tensor]) -> Tensor:
    """Concatenate maps along their channels: (N, C_i, H, W) each -> (N, sum of C_i, H, W).

    On a CPU each map gets its gradient in memory of its own. It would be a slice of the gradient of the result, few
    channels of many in each pixel, on which the backward pass of a ReLU takes up to 30 times as long (torch 2.15). The
    copies make a training step of the detector a tenth faster.
    """
    for one in maps:
        if one.requires_grad and one.is_cpu and not torch.compiler.is_compiling():  # a compiler fuses both
            one.register_hook(_own_memory)
    return torch.cat(maps, 1)


def _own_memory(gradient: Tensor) -> Tensor:
    channels_last = gradient.stride(1) == 1
    return gradient.contiguous(memory_format=torch.channels_last) if channels_last else gradient


def recompute_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the mean and variance of the batch norms by the means of those of the batches.

    Those of a training are moving averages over its last batches, of all sizes that it had. Wu and Johnson (2021,
    "Rethinking 'Batch' in BatchNorm") call it PreciseBN. Weights do not change. Batch norms in eval mode, which were
    frozen in training, keep what they have.

    Args:
        network: in the mode of its training; dropout is off here.
        batches: (N, 3, S, S) images, at least one batch, each of at least two images.
    """
    modes = [(module, module.training) for module in network.modules()]
    norms = [module for module, training in modes if training and isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # all batches have the same weight
    with torch.no_grad():
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training


def fuse_conv_bn(module: nn.Module) -> nn.Module:
    """Fuse batch norms into the convolutions before them, in place; returns the module, in eval mode.

    Only neighbors in a plain `nn.Sequential` are fused, which keeps the results: `ConvUnit`s and units of torchvision.
    A `ConvUnit` in "pre" order keeps its batch norm.
    """
    module.eval()
    for child in module.modules():
        if not isinstance(child, nn.Sequential) or type(child).forward is not nn.Sequential.forward:
            continue
        for place, (conv, norm) in enumerate(pairwise(list(child))):
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
                continue
            if type(norm).forward is nn.BatchNorm2d.forward:  # a subclass may include an activation
                child[place] = nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
                child[place + 1] = nn.Identity()
    return module


def check_share(name: str, value: float) -> float:
    """Return `value`, a fraction or probability; `SettingsError` outside 0 to 1."""
    if not 0 <= value <= 1:
        raise SettingsError(f"{name} is {value}; expected 0 to 1")
    return value


def initialize(network: nn.Module) -> None:
    """He initialization (He et al. 2015): normal weights by the fan-out of each convolution, zero biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # PyTorch's fan-out of a depthwise convolution counts all groups; its fan-in is the fan-out of one group.
            mode: Literal["fan_in", "fan_out"] = "fan_in" if module.groups > 1 else "fan_out"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
