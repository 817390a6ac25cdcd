"""The convolution unit in both orders, the normalisation, and the fusion of batch norms."""

import pytest
import torch
from torch import nn

from pelee.models.layers import Activation, ConvUnit, Normalize, concatenate, fuse_conv_bn, recompute_batch_norm


def kinds(unit: nn.Sequential) -> list[type]:
    return [type(layer) for layer in unit]


def test_conv_unit_orders() -> None:
    post, pre = ConvUnit(3, 8, 3), ConvUnit(3, 8, 3, activation="pre")
    assert kinds(post) == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds(pre) == [nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
    assert isinstance(post[1], nn.BatchNorm2d) and post[1].num_features == 8  # of what the convolution gives
    assert isinstance(pre[0], nn.BatchNorm2d) and pre[0].num_features == 3  # of what comes in
    assert [name for name, _ in post.named_parameters()] == ["0.weight", "1.weight", "1.bias"]  # no convolution bias


def test_conv_unit_without_relu() -> None:
    assert kinds(ConvUnit(3, 8, 1, relu=False)) == [nn.Conv2d, nn.BatchNorm2d]
    assert kinds(ConvUnit(3, 8, 1, relu=False, activation="pre")) == [nn.BatchNorm2d, nn.Conv2d]


def test_conv_unit_stride_and_padding() -> None:
    assert ConvUnit(3, 8, 3, 2, 1)(torch.zeros(2, 3, 9, 9)).shape == (2, 8, 5, 5)


def test_conv_unit_by_hand() -> None:
    """A 1×1 convolution of one channel: weight 2, batch norm mean 1, variance 4, scale 3, shift -2, no epsilon."""
    for activation, expected in (
        # 2x, (2x - 1) / 2 · 3 - 2, ReLU: x = 1 -> 0.5 · 3 - 2 < 0; x = 2 -> 1.5 · 3 - 2; x = 3 -> 2.5 · 3 - 2
        ("post", [0.0, 2.5, 5.5]),
        # (x - 1) / 2 · 3 - 2, ReLU, 2x: x = 1 -> -2 < 0; x = 2 -> 0.5 · 3 - 2 < 0; x = 3 -> (3 - 2) · 2
        ("pre", [0.0, 0.0, 2.0]),
    ):
        unit = ConvUnit(1, 1, 1, activation=activation).eval()  # type: ignore[arg-type]
        set_unit(unit)
        out = unit(torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3))
        assert out.flatten().tolist() == pytest.approx(expected)


def set_unit(unit: nn.Module) -> None:
    for layer in unit.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 2.0)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.eps = 0.0
            for tensor, value in (
                (layer.running_mean, 1.0),
                (layer.running_var, 4.0),
                (layer.weight, 3.0),
                (layer.bias, -2.0),
            ):
                assert tensor is not None
                nn.init.constant_(tensor, value)


def test_fusion_by_hand() -> None:
    """The unit above, merged: weight 2 · 3 / 2 = 3, bias (0 - 1) · 3 / 2 - 2 = -3.5."""
    unit = ConvUnit(1, 1, 1)
    set_unit(unit)
    fused = fuse_conv_bn(unit)
    assert fused is unit and not unit.training
    assert kinds(unit) == [nn.Conv2d, nn.Identity, nn.ReLU]
    conv = unit[0]
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    assert (conv.weight.item(), conv.bias.item()) == (3.0, -3.5)


def test_batch_norm_of_batches_by_hand() -> None:
    """Of 0 and 2: mean 1, variance 2 (of a sample); of 3 and 7: 5 and 8. Both batches have the same weight."""
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(1, momentum=0.3), nn.BatchNorm2d(1, momentum=0.2))
    trained, frozen = network[1], network[2]
    assert isinstance(trained, nn.BatchNorm2d) and isinstance(frozen, nn.BatchNorm2d)
    assert trained.running_mean is not None and trained.running_var is not None and frozen.running_mean is not None
    trained.running_mean.fill_(9)
    frozen.eval()
    frozen.running_mean.fill_(4)
    recompute_batch_norm(network, (torch.tensor([one, two]).view(2, 1, 1, 1) for one, two in ((0.0, 2.0), (3.0, 7.0))))
    assert (trained.running_mean.item(), trained.running_var.item()) == (3.0, 5.0)
    assert frozen.running_mean.item() == 4.0
    assert (trained.momentum, trained.training, network[0].training, frozen.training) == (0.3, True, True, False)


@pytest.mark.parametrize("activation", ["post", "pre"])
def test_fusion_keeps_pre_activation(activation: Activation) -> None:
    unit = nn.Sequential(ConvUnit(3, 8, 3, activation=activation), ConvUnit(8, 8, 1, activation=activation))
    fuse_conv_bn(unit)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in unit.modules())
    assert norms == (0 if activation == "post" else 2)


def test_fusing_twice_changes_nothing() -> None:
    unit = ConvUnit(3, 8, 3)
    x = torch.randn(1, 3, 6, 6)
    once = fuse_conv_bn(unit)(x)
    assert torch.equal(fuse_conv_bn(unit)(x), once)


def test_normalize_by_hand() -> None:
    """(x - mean) × 0.017 by channel: (0 - 123.68) · 0.017 = -2.10256, (255 - 103.94) · 0.017 = 2.56802."""
    pixels = torch.tensor([0, 116, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [-2.10256, -0.78 * 0.017, 2.56802]
    normalize = Normalize()
    for images in (pixels, pixels.float()):
        out = normalize(images)
        assert out.dtype == torch.float32
        assert out.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def test_normalize_takes_the_type_of_the_weights() -> None:
    assert Normalize().double()(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).dtype == torch.float64


def test_normalize_is_not_in_the_weights() -> None:
    assert Normalize().state_dict() == {}


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_concatenated_maps_get_whole_gradients(memory_format: torch.memory_format) -> None:
    """The gradients are those of torch.cat; channels-last ones are no slices of one of more channels."""
    torch.manual_seed(0)
    maps = [torch.randn(2, channels, 5, 6).to(memory_format=memory_format).requires_grad_() for channels in (3, 4)]
    seen: list[torch.Tensor] = []
    inner = [one * 2 for one in maps]
    joined = concatenate(inner)
    for one in inner:
        one.register_hook(seen.append)
    weight = torch.randn(2, 7, 5, 6).to(memory_format=memory_format)
    (joined * weight).sum().backward()
    assert torch.equal(joined, torch.cat(inner, 1))
    assert torch.equal(torch.cat([one.grad for one in maps], 1), 2 * weight)
    if memory_format == torch.channels_last:
        assert all(one.is_contiguous(memory_format=torch.channels_last) for one in seen) and len(seen) == 2


def test_concatenation_without_gradients() -> None:
    maps = [torch.zeros(1, 2, 3, 3), torch.ones(1, 1, 3, 3)]
    assert concatenate(maps).shape == (1, 3, 3, 3) and not concatenate(maps).requires_grad
