"""SqueezeNext: block and feature maps against values computed by hand."""

import pytest
import torch

from pelee.models.squeezenext import Block, SqueezeNext
from tests.support.registry_networks import on_meta


@pytest.mark.parametrize("column_first", [True, False])
@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize(("channels", "stride", "entry"), [(32, 1, False), (32, 1, True), (64, 1, True), (16, 2, True)])
def test_squeezenext_block(channels: int, stride: int, entry: bool, projected: bool, column_first: bool) -> None:
    """32 channels out: squeezed to 16, then 8."""
    block = Block(channels, 32, stride, entry, column_first, projected).eval()
    kernels = [(3, 1), (1, 3)] if column_first else [(1, 3), (3, 1)]
    assert [unit[0].out_channels for unit in block.body] == [16, 8, 16, 16, 32]
    assert [unit[0].kernel_size for unit in block.body] == [(1, 1), (1, 1), *kernels, (1, 1)]
    x = torch.randn(2, channels, 9, 9)
    out = block(x)
    assert out.shape == (2, 32, 9 // stride + stride - 1, 9 // stride + stride - 1)
    kept = block.shortcut(x) if entry else x
    torch.testing.assert_close(out, (kept + block.body(kept if projected else x)).relu())


@pytest.mark.slow
def test_squeezenext_maps() -> None:
    """227 pixels -> 111, 55, then 55×55×32, 28×28×64, 14×14×128 and 7×7×256."""
    network = on_meta("squeezenext")
    assert isinstance(network, SqueezeNext)
    shapes: list[tuple[int, ...]] = []
    for module in (network.stem[0], network.stem[1], *network.stages):
        module.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:3])))
    network(torch.zeros(1, 3, 227, 227, device="meta"))
    columns = [block.body[2][0].kernel_size == (3, 1) for block in network.stages]  # type: ignore[union-attr, index]
    assert columns == 10 * [True, False] + [True]
    assert shapes == [(64, 111), (64, 55), *6 * [(32, 55)], *6 * [(64, 28)], *8 * [(128, 14)], (256, 7)]
