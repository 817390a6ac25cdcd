"""Parameter and multiply-add counts."""

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Count(NamedTuple):
    """Size of a network: parameters, multiply-adds of convolutions and linear layers for one image, shapes.

    report_parameters: see `report_parameters`.
    """

    parameters: int
    report_parameters: int
    multiply_adds: int
    input_shape: tuple[int, ...]
    output_shapes: list[tuple[int, ...]]


def count(network: nn.Module, input_size: int) -> Count:
    """Count a network by running it once, on its device, on an empty image of `input_size` pixels a side.

    On the meta device nothing is computed, so that even a large network is counted at once.
    """
    shape = (1, 3, input_size, input_size)
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        outputs = network.eval()(torch.zeros(shape, device=device))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return Count(
        _parameters(network),
        report_parameters(network),
        counter.get_total_flops() // 2,  # the counter takes a multiply-add for two operations
        shape,
        [tuple(output.shape) for output in outputs],
    )


def report_parameters(network: nn.Module) -> int:
    """Parameters as the ablation's report counts them, and Keras would: a bias for every convolution, and a batch
    norm with its two running statistics. That is PyTorch's count, and three more for each channel of a batch norm whose
    convolution has no bias."""
    biases = sum(m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is None)
    statistics = sum(2 * m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    return _parameters(network) + biases + statistics


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
