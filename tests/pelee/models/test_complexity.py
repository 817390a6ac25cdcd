"""Parameter and multiply-add counts against values computed by hand."""

import torch
from torch import nn

from pelee.models.complexity import count, report_parameters


def network() -> nn.Sequential:
    """3×3 convolution of stride 2 without a bias, its batch norm, and a linear layer on 4 × 4 × 4 values."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5)
    )


def test_count_by_hand() -> None:
    counted = count(network(), 8)
    assert counted.parameters == 3 * 4 * 9 + 2 * 4 + 64 * 5 + 5
    assert counted.multiply_adds == 4 * 4 * (3 * 4 * 9) + 64 * 5
    assert counted.input_shape == (1, 3, 8, 8) and counted.output_shapes == [(1, 5)]


def test_report_parameters_add_a_bias_and_the_running_statistics() -> None:
    plain = network()
    assert report_parameters(plain) == count(plain, 8).parameters + 3 * 4
    assert report_parameters(nn.Conv2d(3, 4, 1)) == 3 * 4 + 4  # it has its bias, and no batch norm


def test_the_meta_device_gives_the_same_counts() -> None:
    with torch.device("meta"):
        assert count(network(), 8) == count(network().to_empty(device="cpu"), 8)
