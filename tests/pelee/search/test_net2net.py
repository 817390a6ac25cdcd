"""Net2Net: a grown network has its parent's function, and all its new channels learn."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from data.errors import SettingsError
from pelee.models.peleenet import PeleeNet, PeleeNetConfig
from pelee.search.net2net import extends, grow, morph

SMALL = PeleeNetConfig(
    blocks=(1, 2, 1, 1), growth_rate=8, bottleneck_widths=(1, 1, 1, 1), stem_channels=8, transitions=(12, 16, 20, 24)
)
WIDER = {
    "deeper": {"blocks": (2, 3, 3, 1)},
    "growth": {"growth_rate": 12},
    "bottleneck": {"bottleneck_widths": (1, 2, 3, 4)},
    "stem": {"stem_channels": 12},
    "transitions": {"transitions": (16, 16, 40, 25)},
    "no compression": {"transitions": None},
}


def network(config: PeleeNetConfig, seed: int = 0) -> PeleeNet:
    """A parent whose running statistics, scales, biases and classifier all differ from their initial values."""
    torch.manual_seed(seed)
    made = PeleeNet(5, config)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.running_var, module.weight):
                    tensor.uniform_(0.5, 1.5)  # type: ignore[union-attr]
                for tensor in (module.running_mean, module.bias):
                    tensor.normal_(0, 0.3)  # type: ignore[union-attr]
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.3)
                module.bias.normal_()
    return made


def images(count: int = 3) -> torch.Tensor:
    return 255 * torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def more(numbers: tuple[int, ...], most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(st.integers(0, most).map(number.__add__) for number in numbers))


@st.composite
def designs(draw: st.DrawFn) -> tuple[PeleeNetConfig, PeleeNetConfig]:
    """A parent and a child that is nowhere smaller, over all options of the config."""
    each = st.tuples(*[st.integers(1, 2)] * 4)
    two_way = draw(st.booleans())
    parent = PeleeNetConfig(
        blocks=draw(each),
        growth_rate=draw(st.sampled_from((4, 8))),
        bottleneck_widths=draw(each),
        # with it, a child's bottlenecks may be narrower than its parent's
        dynamic_bottleneck=False,
        two_way=two_way,
        stem=draw(st.sampled_from(("two-branch", "plain", "none"))),
        stem_channels=draw(st.sampled_from((4, 6))),
        transitions=draw(st.none() | st.tuples(*[st.integers(4, 12)] * 4)),
        activation=draw(st.sampled_from(("post", "pre"))),
    )
    opened = draw(st.booleans()) and not two_way  # a second branch next to the first
    child = replace(
        parent,
        blocks=draw(more(parent.blocks, 2)),
        growth_rate=parent.growth_rate * (1 + opened) + draw(st.sampled_from((0, 4))),
        bottleneck_widths=draw(more(parent.bottleneck_widths, 1)),
        two_way=two_way or opened,
        stem_channels=parent.stem_channels + draw(st.sampled_from((0, 2, 6))),
        transitions=draw(more(parent.transitions, 6)) if parent.transitions else None,
    )
    return parent, child


@pytest.mark.slow
@settings(max_examples=12)
@given(designs(), st.booleans())
def test_grow_keeps_the_parent_s_output(pair: tuple[PeleeNetConfig, PeleeNetConfig], training: bool) -> None:
    """In eval mode, and in training mode without dropout, where batch norm uses the batch's statistics."""
    first, second = (replace(config, dropout=0.0) for config in pair)
    parent = network(first).double().train(training)
    child = grow(parent, second)
    with torch.no_grad():
        expected = parent(images())
        assert torch.allclose(child(images()), expected, rtol=1e-9, atol=1e-10)
    assert expected.std() > 0.05
    larger = sum(p.numel() for p in child.parameters()) > sum(p.numel() for p in parent.parameters())
    assert extends(first, second) == larger


@pytest.mark.parametrize("activation", ["post", "pre"])
@pytest.mark.parametrize("what", WIDER)
def test_new_channels_learn(what: str, activation: str) -> None:
    """The first step changes the zero weights, the second the new channels; no two of these have equal gradients."""
    base = replace(SMALL, activation=activation, dropout=0.0)
    parent = network(base).double()
    child = grow(parent, replace(base, **WIDER[what]))
    optimizer = torch.optim.SGD(child.parameters(), lr=0.01)
    labels = torch.tensor([0, 1, 2])
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(child(images()), labels).backward()
        optimizer.step()
    shapes = {name: one.shape for name, one in parent.named_parameters()}
    new = [(name, one) for name, one in child.named_parameters() if shapes.get(name) != one.shape]
    assert new
    for name, one in new:
        if one.ndim == 4:  # new layers, and new rows of existing ones
            rows = one.grad.flatten(1)[shapes[name][0] if name in shapes else 0 :]  # type: ignore[union-attr]
            if len(rows):
                assert (rows != 0).any(), name
            if len(rows) > 1:
                assert not torch.allclose(rows[0], rows[1]), name


def test_grow_keeps_type_and_mode() -> None:
    parent = network(SMALL).eval()
    child = grow(parent, replace(SMALL, blocks=(2, 2, 2, 2)))
    assert not child.training and next(child.parameters()).dtype == torch.float32
    assert torch.allclose(child(images().float()), parent(images().float()), atol=1e-4)


SMALLER = {
    "shallower": {"blocks": (1, 1, 1, 1)},
    "stages": {"blocks": (1, 2, 1), "bottleneck_widths": (1, 1, 1), "transitions": None},
    "narrower growth": {"growth_rate": 4},
    "narrower stem": {"stem_channels": 4},
    "narrower transition": {"transitions": (12, 16, 16, 24)},
    "one way": {"two_way": False},
    "another stem": {"stem": "plain"},
    "another order": {"activation": "pre"},
}


@pytest.mark.parametrize("what", SMALLER)
def test_morph_to_a_smaller_design_is_refused(what: str) -> None:
    config = replace(SMALL, **SMALLER[what])
    assert not extends(SMALL, config)
    with pytest.raises(SettingsError, match="does not extend"):
        morph(network(SMALL), PeleeNet(5, config))


@pytest.mark.slow
def test_extends_is_true_for_larger_designs_only() -> None:
    assert not extends(SMALL, SMALL)
    for changes in WIDER.values():
        assert extends(SMALL, replace(SMALL, **changes)) and not extends(replace(SMALL, **changes), SMALL)


def test_grow_of_a_network_without_a_classifier_is_refused() -> None:
    with pytest.raises(SettingsError, match="without a classifier"):
        grow(PeleeNet(0, SMALL), SMALL)
