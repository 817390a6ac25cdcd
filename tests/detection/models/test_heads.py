"""The order of predictions, the residual prediction block, and the sizes of the extra maps."""

import pytest
import torch
from torch import nn

from detection.models.heads import ExtraBlock, PredictionHead, ResBlock
from detection.models.priors import PRIORS_PER_CELL


def test_order_of_predictions() -> None:
    """Row, column, prior, class: prediction (r · W + c) · 6 + a of class k is channel a · K + k at (r, c)."""
    head = PredictionHead(5, 3, 1)
    x = torch.randn(2, 5, 2, 4)
    logits, offsets = head(x)
    assert logits.shape == (2, 2 * 4 * 6, 3) and offsets.shape == (2, 2 * 4 * 6, 4)
    of_class, of_box = head.classify(x), head.regress(x)
    for row in range(2):
        for column in range(4):
            for prior in range(6):
                place = (row * 4 + column) * 6 + prior
                assert torch.equal(logits[:, place], of_class[:, prior * 3 : prior * 3 + 3, row, column])
                assert torch.equal(offsets[:, place], of_box[:, prior * 4 : prior * 4 + 4, row, column])


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_head_keeps_the_map(kernel_size: int) -> None:
    head = PredictionHead(8, 21, kernel_size)
    logits, offsets = head(torch.randn(1, 8, 5, 5))
    assert logits.shape == (1, 150, 21) and offsets.shape == (1, 150, 4)
    area = kernel_size**2
    assert head.classify.weight.numel() == 8 * area * PRIORS_PER_CELL * 21
    assert head.regress.weight.numel() == 8 * area * PRIORS_PER_CELL * 4


def test_res_block() -> None:
    """in·256 for the shortcut; in·128 + 128·128·9 + 128·256 beside it; batch norms of 256, 128, 128, 256 channels."""
    block = ResBlock(704)
    assert block(torch.randn(2, 704, 4, 4)).shape == (2, 256, 4, 4)
    convolutions = 704 * 256 + 704 * 128 + 128 * 128 * 9 + 128 * 256
    assert sum(p.numel() for p in block.parameters()) == convolutions + 2 * (256 + 128 + 128 + 256)


def test_res_block_has_two_arms() -> None:
    """Each arm alone carries the input through: the other's last scale is set to zero."""
    torch.manual_seed(0)
    x = torch.randn(1, 16, 4, 4)
    for silent in ("shortcut", "residual"):
        block = ResBlock(16).eval()
        norms = [m for m in getattr(block, silent).modules() if isinstance(m, nn.BatchNorm2d)]
        nn.init.zeros_(norms[-1].weight)
        assert block(x).std() > 0


@pytest.mark.parametrize("stride", [1, 2])
def test_extra_block_gives_the_cells_it_announces(stride: int) -> None:
    block = ExtraBlock(4, 4, 6, stride).eval()
    for cells in range(1, 17):
        expected = ExtraBlock.output_cells(cells, stride)
        assert block(torch.zeros(1, 4, cells, cells)).shape == (1, 6, expected, expected), cells


def test_extra_maps_of_the_paper() -> None:
    """10 -> 5 -> 3 -> 1."""
    assert ExtraBlock.output_cells(10, 2) == 5
    assert ExtraBlock.output_cells(5, 1) == 3
    assert ExtraBlock.output_cells(3, 1) == 1


def test_extra_block_keeps_maps_too_small_to_shrink() -> None:
    assert [ExtraBlock.output_cells(cells, 1) for cells in (1, 2)] == [1, 2]
