"""PeleeNet against the counts of the paper and of its ablation, its maps, its layers and its fusion."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from data.errors import SettingsError
from pelee.models.complexity import report_parameters
from pelee.models.layers import Activation, fuse_conv_bn
from pelee.models.peleenet import SPECTRUM, DenseLayer, FeatureInfo, PeleeNet, PeleeNetConfig, Stem, TwoBranchStem
from pelee.models.registry import MODELS, build

M6, M5, M3, M1, M0 = (SPECTRUM[f"peleenet-m{number}"] for number in (6, 5, 3, 1, 0))
SMALL = replace(M6, blocks=(1, 2, 1, 1), growth_rate=8, stem_channels=8)
PLAIN = replace(SMALL, stem="plain", two_way=False, activation="pre", transitions=(8, 12, 16, 20))


def on_meta(num_classes: int = 1000, config: PeleeNetConfig | None = None) -> PeleeNet:
    """A network without numbers: shapes and counts are there, and nothing is computed."""
    with torch.device("meta"):
        return PeleeNet(num_classes, config).eval()


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def randomise_norms(network: nn.Module, seed: int = 0) -> None:
    """Give every batch norm statistics as a training leaves them: none is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                assert tensor is not None
                tensor.data.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias, module.running_mean):
                assert tensor is not None
                tensor.data.uniform_(-0.5, 0.5, generator=generator)


# Counts


@pytest.mark.slow
def test_published_counts() -> None:
    network = on_meta()
    assert parameters(network) == 2_802_248
    with FlopCounterMode(display=False) as counter:
        logits = network(torch.zeros(1, 3, 224, 224, device="meta"))
    assert logits.shape == (1, 1000)
    assert round(counter.get_total_flops() / 2 / 1e6) == 508  # paper, table 1: 508 million


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "classes198", "classes10"),
    [
        ("peleenet-m6", 2_251_430, 2_118_890),
        ("peleenet-m5", 1_873_238, 1_740_698),
        ("peleenet-m4", 1_238_514, 1_105_974),
        ("peleenet-m3", 1_224_342, 1_091_802),
        ("peleenet-m2", 914_390, 781_850),
        ("peleenet-m1", 1_049_398, 916_858),
        ("peleenet-m0", 621_174, 554_810),
    ],
)
def test_ablation_counts(name: str, classes198: int, classes10: int) -> None:
    with torch.device("meta"):
        assert report_parameters(MODELS[name].build(198)) == classes198
        assert report_parameters(MODELS[name].build(10)) == classes10


def test_settings_go_over_the_named_design() -> None:
    with torch.device("meta"):
        network = build("peleenet-m3", 10, {"growth_rate": 8, "stem": "plain"})
    assert network.config == replace(M3, growth_rate=8, stem="plain")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 41}, "settings that peleenet-m6 cannot be built with: .*'depth'"),
        ({"blocks": 3}, "settings that peleenet-m6 cannot be built with: .*'int'"),
        ({"stem": "tall"}, "stem is 'tall'; expected one of two-branch, plain, none"),
        ({"blocks": ()}, "blocks is"),
        ({"blocks": (3, 0)}, "blocks is"),
        ({"blocks": (1, 1, 1, 1, 1)}, "bottleneck_widths is .* at least 1 for each of 5 stages"),
        ({"transitions": (64, 128)}, "transitions is .* at least 1 for each of 4 stages"),
        ({"growth_rate": 7}, "growth_rate is 7; expected an even one"),
        ({"growth_rate": 0}, "growth_rate is 0; expected at least 2"),
        ({"bottleneck_channels": 0}, "bottleneck_channels is 0; expected at least 1"),
        ({"dropout": 1.5}, "dropout is 1.5"),
    ],
)
def test_settings_that_make_no_network(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build("peleenet-m6", 10, settings)


def test_ways_of_counting_agree_on_a_dense_layer_by_hand() -> None:
    """One-way, 4 channels in, bottleneck 6, growth 5, conv-BN-ReLU.

    Weights 4·6 + 9·6·5 = 294; batch norms 2·(6 + 5) = 22; in the report's way 3·(6 + 5) = 33 more.
    """
    layer = DenseLayer(4, 5, 6, two_way=False, activation="post")
    assert parameters(layer) == 294 + 22
    assert report_parameters(layer) == 294 + 22 + 33


# Bottlenecks


def bottlenecks(config: PeleeNetConfig) -> list[list[int]]:
    """Each stage's 1×1 widths."""

    def width(layer: nn.Module) -> int:
        first = next(module for module in layer.modules() if isinstance(module, nn.Conv2d))
        assert first.kernel_size == (1, 1)
        return first.out_channels

    return [[width(layer) for layer in stage.children()] for stage in on_meta(0, config).stages]


@pytest.mark.slow
def test_bottleneck_widths_of_peleenet() -> None:
    assert bottlenecks(M6) == [[16] * 3, [32] * 4, [64] * 8, [64] * 6]


@pytest.mark.slow
def test_dynamic_bottleneck_narrows_early_layers() -> None:
    """Width 4 × 16 = 64 where at least 128 channels come in, else half of them in multiples of 4."""
    wide = replace(M6, bottleneck_widths=(4, 4, 4, 4))
    # in: 32, 64, 96 -> 16, 32, 48; then 128 and more -> 64
    assert bottlenecks(wide)[:2] == [[16, 32, 48], [64] * 4]
    assert bottlenecks(replace(wide, dynamic_bottleneck=False))[0] == [64] * 3


def test_dynamic_bottleneck_is_never_empty() -> None:
    """Three channels of a picture, without a stem, halve to 0 multiples of 4."""
    assert bottlenecks(replace(M3, dynamic_bottleneck=True))[0][0] == 4


def test_fixed_bottleneck() -> None:
    assert bottlenecks(M1) == [[32] * layers for layers in (3, 4, 8, 3)]


# Maps


@pytest.mark.slow
def test_feature_info() -> None:
    assert on_meta(0).feature_info == [
        FeatureInfo("stage1", 128, 4),
        FeatureInfo("stage2", 256, 8),
        FeatureInfo("stage3", 512, 16),
        FeatureInfo("stage4", 704, 32),
    ]


@pytest.mark.slow
def test_feature_info_of_compression() -> None:
    assert [info.channels for info in on_meta(0, M5).feature_info] == [128, 256, 512, 704]
    assert [info.stride for info in on_meta(0, M0).feature_info] == [1, 2, 4, 8]  # without a stem


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["two-branch", "plain"])
@pytest.mark.parametrize(("size", "cells"), [(64, [16, 8, 4, 2]), (224, [56, 28, 14, 7]), (304, [76, 38, 19, 10])])
def test_features_have_the_shapes_they_announce(stem: Stem, size: int, cells: list[int]) -> None:
    network = on_meta(0, replace(M6, stem=stem))
    maps = network.features(torch.zeros(2, 3, size, size, device="meta"))
    expected = [(2, info.channels, side, side) for info, side in zip(network.feature_info, cells, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected


@pytest.mark.slow
def test_features_without_a_stem() -> None:
    maps = on_meta(0, M0).features(torch.zeros(1, 3, 32, 32, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (352, 4, 4)]


def test_pool_rounds_up_and_averages_what_is_there() -> None:
    """3×3 -> 2×2: the last row and column average the one or two cells that they have."""
    x = torch.arange(9.0).view(1, 1, 3, 3)  # rows 0 1 2 / 3 4 5 / 6 7 8
    expected = [(0 + 1 + 3 + 4) / 4, (2 + 5) / 2, (6 + 7) / 2, 8.0]
    assert PeleeNet(0, SMALL).pool(x).flatten().tolist() == expected


def test_stem_rounds_up() -> None:
    assert TwoBranchStem(8, "post")(torch.zeros(2, 3, 30, 30)).shape == (2, 8, 8, 8)


@pytest.mark.parametrize("two_way", [True, False])
def test_dense_layer_keeps_its_input_in_front(two_way: bool) -> None:
    x = torch.randn(2, 12, 5, 5)
    out = DenseLayer(12, 8, 4, two_way, "post").eval()(x)
    assert out.shape == (2, 20, 5, 5)
    assert torch.equal(out[:, :12], x)


def test_two_ways_see_three_and_five_cells() -> None:
    """What one pixel of the input reaches: 3×3 in the first way's half, 5×5 in the second's."""
    torch.manual_seed(0)
    layer = DenseLayer(4, 8, 4, True, "post").eval()
    for name, weight in layer.named_parameters():
        if name.endswith(".0.weight"):
            weight.data.abs_()  # positive throughout, so that no ReLU hides a cell
    x = torch.zeros(1, 4, 7, 7)
    x[..., 3, 3] = 1
    reached = layer(x)[0, 4:] > 0
    assert reached[:4].any(0).sum() == 9 and reached[4:].any(0).sum() == 25


# Forward


@pytest.mark.parametrize("config", [SMALL, PLAIN], ids=["two-branch", "plain"])
def test_forward(config: PeleeNetConfig) -> None:
    network = PeleeNet(7, config)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert network.train()(images).shape == network.eval()(images).shape == (2, 7)
    assert torch.equal(network(images), network(images.float()))


def test_logits_are_of_the_averaged_last_map() -> None:
    network = PeleeNet(7, SMALL).eval()
    images = torch.rand(2, 3, 64, 64) * 255
    assert network.classifier is not None
    linear = network.classifier[1]
    pooled = nn.functional.adaptive_avg_pool2d(network.features(images)[-1], 1).flatten(1)
    torch.testing.assert_close(network(images), linear(pooled))


def test_forward_without_a_classifier() -> None:
    with pytest.raises(RuntimeError, match=r"call features\(\)"):
        PeleeNet(0, SMALL)(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("config", [M6, PLAIN, replace(PLAIN, stem="none", blocks=(1, 1))], ids=["m6", "plain", "none"])
def test_gradient_reaches_every_parameter(config: PeleeNetConfig) -> None:
    torch.manual_seed(0)
    network = PeleeNet(5, config)
    network(torch.rand(2, 3, 64, 64) * 255).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.parametrize("activation", ["post", "pre"])
def test_fusion_computes_the_same(activation: Activation) -> None:
    torch.manual_seed(0)
    network = PeleeNet(5, replace(SMALL, activation=activation)).double().eval()
    randomise_norms(network)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64) * 255
    with torch.no_grad():
        before = network(images)
        assert before.std() > 0
        torch.testing.assert_close(fuse_conv_bn(network)(images), before, rtol=1e-9, atol=1e-9)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert (norms == 0) == (activation == "post")
