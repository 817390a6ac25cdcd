"""HarDNet and SqueezeNext against the counts of their papers, and their blocks against hand-computed widths."""

import pytest
import torch
from torch import nn

from data.errors import SettingsError
from pelee.models.complexity import count
from pelee.models.hardnet import HarmonicBlock, links
from pelee.models.registry import MODELS, build
from tests.support.registry_networks import on_meta


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "parameters", "paper", "millions"),
    [
        ("hardnet", {}, 3_488_228, 3.5, 440),
        ("hardnet", {"variant": "68ds"}, 4_180_602, 4.2, 800),
        ("hardnet", {"variant": "68"}, 17_565_348, 17.6, 4300),
        ("squeezenext", {}, 717_280, 0.72, 278.0),
        ("squeezenext", {"variant": "23v5"}, 930_016, 0.94, 224.9),
        ("squeezenext", {"width": 2.0}, 2_361_728, 2.4, 742.1),
        ("squeezenext", {"width": 2.0, "variant": "23v5"}, 3_222_912, 3.2, 702.6),
    ],
)
def test_counts(name: str, settings: dict[str, object], parameters: int, paper: float, millions: float) -> None:
    """The paper's millions, and exactly those of the authors' published definitions. SqueezeNext's multiply-adds are
    counted from these, HarDNet's are the paper's, rounded."""
    counted = count(on_meta(name, **settings), MODELS[name].input_size)
    assert counted.parameters == parameters == pytest.approx(paper * 1e6, rel=0.017)
    assert counted.multiply_adds / 1e6 == pytest.approx(millions, rel=1e-3 if name == "squeezenext" else 0.035)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hardnet", "squeezenext"])
@pytest.mark.parametrize("size", [33, 64])
def test_forward_and_backward(name: str, size: int) -> None:
    torch.manual_seed(0)
    network = build(name, 5, {})
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    assert torch.equal(network.eval()(images), network(images.float()))
    logits = network.train()(images)
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert not [name for name, one in network.named_parameters() if one.grad is None or not one.grad.isfinite().all()]


@pytest.mark.slow
def test_the_picture_is_normalised_inside() -> None:
    """A picture that is the mean everywhere is a picture of zeros to the network."""
    for name in ("hardnet", "squeezenext"):
        network = build(name, 5, {"normalization": {"mean": (10, 20, 30), "std": (2, 3, 4)}}).eval()
        seen: list[torch.Tensor] = []
        network.stem.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))  # type: ignore[union-attr, operator]
        network(torch.tensor([12.0, 26.0, 18.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64))
        assert torch.equal(seen[0], torch.tensor([1.0, 2.0, -3.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64))


# HarDNet


def test_harmonic_links() -> None:
    """Figure 1 of the paper: layer 8 reads 7, 6, 4 and the input."""
    assert [links(layer) for layer in range(1, 9)] == [[0], [1, 0], [2], [3, 2, 0], [4], [5, 4], [6], [7, 6, 4, 0]]


@pytest.mark.parametrize("separable", [True, False])
def test_harmonic_block_by_hand(separable: bool) -> None:
    """Growth 10, multiplier 2, 4 layers of 10, 20, 10 and 40 channels; out go layers 1, 3 and 4."""
    block = HarmonicBlock(6, 10, 2.0, 4, separable).eval()
    convolutions = [next(m for m in layer.modules() if isinstance(m, nn.Conv2d)) for layer in block.layers]
    assert [conv.in_channels for conv in convolutions] == [6, 10 + 6, 20, 10 + 20 + 6]
    assert [conv.out_channels for conv in convolutions] == [10, 20, 10, 40]
    x = torch.randn(2, 6, 5, 5)
    first = block.layers[0](x)
    second = block.layers[1](torch.cat([first, x], 1))
    third = block.layers[2](second)
    fourth = block.layers[3](torch.cat([third, second, x], 1))
    assert block.out_channels == 60
    assert torch.equal(block(x), torch.cat([first, third, fourth], 1))


def test_widths_are_rounded_to_even_numbers() -> None:
    """Growth 16, multiplier 1.6: 16, 25.6, 16, 40.96."""
    block = HarmonicBlock(8, 16, 1.6, 4, separable=False)
    assert [layer[0].out_channels for layer in block.layers] == [16, 26, 16, 40]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("hardnet", {"variant": "85"}, "variant is '85'; expected one of 39ds, 68ds, 68"),
        ("hardnet", {"dropout": 1.2}, "dropout is 1.2; expected 0 to 1"),
        ("squeezenext", {"variant": "44"}, "variant is '44'; expected one of 23, 23v5"),
        ("squeezenext", {"width": 0.1}, r"width is 0.1; expected at least 0.25"),
    ],
)
def test_a_setting_out_of_range_is_one_line(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        on_meta(name, **settings)
