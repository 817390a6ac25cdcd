"""Pelee of the public PyTorch ports: a state dict of that structure with random weights, and its forward pass.

Written from the facts of the ports' network as functions of the names in the state dict; it knows nothing of this
project's networks.
"""

from collections.abc import Mapping
from itertools import product
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCKS, WIDTHS = (3, 4, 8, 6), (16, 32, 64, 64)
EXTRAS = ((704, 128, 1), (128, 256, 3), (256, 128, 1), (128, 256, 3), (256, 128, 1), (128, 256, 3))
MAPS, STEPS = (19, 10, 5, 3, 1), (16, 30, 60, 101, 304)
MEAN_BGR = (103.94, 116.78, 123.68)


def port_state(classes: int, seed: int = 0) -> dict[str, Tensor]:
    """State dict for so many classes and the background, by the ports' names."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def convolution(name: str, before: int, after: int, kernel: int, gain: float = 2.0) -> None:
        noise = torch.randn(after, before, kernel, kernel, generator=generator)
        state[f"{name}.weight"] = noise * (gain / (before * kernel * kernel)) ** 0.5

    def unit(name: str, before: int, after: int, kernel: int) -> None:
        convolution(f"{name}.conv", before, after, kernel)
        for key in ("weight", "bias", "running_mean", "running_var"):
            noise = torch.randn(after, generator=generator)
            state[f"{name}.norm.{key}"] = noise.abs() + 0.5 if key == "running_var" else 0.1 * noise + (key == "weight")
        state[f"{name}.norm.num_batches_tracked"] = torch.tensor(0)

    for name, before, after, kernel in (("1", 3, 32, 3), ("2a", 32, 16, 1), ("2b", 16, 32, 3), ("3", 64, 32, 1)):
        unit(f"features.stemblock.stem{name}", before, after, kernel)
    state["features.stemblock.stem1.conv.weight"] /= 64  # the input is not scaled
    channels = 32
    for block, (layers, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            for branch, kernels in ((1, (1, 3)), (2, (1, 3, 3))):
                before = channels
                for letter, kernel in zip("abc", kernels, strict=False):
                    after = width if kernel == 1 else 16
                    unit(f"{name}.branch{branch}{letter}", before, after, kernel)
                    before = after
            channels += 32
        unit(f"features.transition{block}", channels, channels, 1)
    for index, (before, after, kernel) in enumerate(EXTRAS):
        unit(f"extras.{index}", before, after, kernel)
    for index, before in enumerate((512, 704, 256, 256, 256)):
        for name, inputs, after, kernel in (("1a", before, 128, 1), ("1b", 128, 128, 3), ("1c", 128, 256, 1)):
            convolution(f"resblock.{index}.res{name}.conv", inputs, after, kernel)
        convolution(f"resblock.{index}.res2a.conv", before, 256, 1)
        for name, numbers in (("loc", 4), ("conf", classes + 1)):
            convolution(f"{name}.{index}", 256, 6 * numbers, 1, 0.5)
            state[f"{name}.{index}.bias"] = 0.1 * torch.randn(6 * numbers, generator=generator)
    return state


def port_outputs(state: Mapping[str, Tensor], images: Tensor, sizes: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Scores (N, P, classes + 1) and boxes (N, P, 4) xyxy, relative to the input, as the ports compute them.

    Args:
        state: `port_state`.
        images: (N, 304, 304, 3) uint8 RGB.
        sizes: smallest prior of each map, then the largest of the last, as fractions of the input.
    """

    def conv(name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)

    def unit(name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        norm = [state[f"{name}.norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(conv(f"{name}.conv", x, stride, padding), *norm, training=False, eps=1e-5))

    x = (images.flip(-1).float() - torch.tensor(MEAN_BGR)).permute(0, 3, 1, 2)
    stem = unit("features.stemblock.stem1", x, 2, 1)
    branch = unit("features.stemblock.stem2b", unit("features.stemblock.stem2a", stem), 2, 1)
    x = unit("features.stemblock.stem3", torch.cat([F.max_pool2d(stem, 2, 2, ceil_mode=True), branch], 1))
    maps = []
    for block, layers in enumerate(BLOCKS, 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}.branch"
            first = unit(f"{name}1b", unit(f"{name}1a", x), padding=1)
            second = unit(f"{name}2c", unit(f"{name}2b", unit(f"{name}2a", x), padding=1), padding=1)
            x = torch.cat([x, first, second], 1)
        x = unit(f"features.transition{block}", x)
        maps.append(x)
        if block < 4:
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True)
    maps = maps[2:]
    for index in range(0, 6, 2):
        x = unit(f"extras.{index + 1}", unit(f"extras.{index}", x), 2 if index == 0 else 1, 1 if index == 0 else 0)
        maps.append(x)
    logits, offsets = [], []
    for index, each in enumerate(maps):
        name = f"resblock.{index}.res"
        x = F.relu(conv(f"{name}1b.conv", F.relu(conv(f"{name}1a.conv", each)), padding=1))
        x = F.relu(conv(f"{name}1c.conv", x)) + F.relu(conv(f"{name}2a.conv", each))
        for kept, head, width in ((logits, "conf", len(state["conf.0.bias"]) // 6), (offsets, "loc", 4)):
            kept.append(conv(f"{head}.{index}", x).permute(0, 2, 3, 1).reshape(len(images), -1, width))
    priors = torch.tensor(port_priors(sizes)).clamp(0, 1)
    moved = torch.cat(offsets, 1)
    center = priors[:, :2] + moved[..., :2] * 0.1 * priors[:, 2:]
    size = priors[:, 2:] * torch.exp(moved[..., 2:] * 0.2)
    return torch.cat(logits, 1).softmax(-1), torch.cat([center - size / 2, center + size / 2], -1)


def port_priors(sizes: tuple[float, ...]) -> list[tuple[float, float, float, float]]:
    """Priors (cx, cy, w, h), relative to the input, not clipped."""
    found = []
    for cells, step, small, large in zip(MAPS, STEPS, sizes, sizes[1:], strict=False):
        for row, column in product(range(cells), repeat=2):
            x, y = (column + 0.5) * step / 304, (row + 0.5) * step / 304
            found += [(x, y, side, side) for side in (small, sqrt(small * large))]
            for ratio in (2, 3):
                long, short = small * sqrt(ratio), small / sqrt(ratio)
                found += [(x, y, long, short), (x, y, short, long)]
    return found
