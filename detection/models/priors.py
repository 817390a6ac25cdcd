"""The priors (default boxes) that every prediction is made against.

Source: the paper, section 3, and Liu et al., "SSD", 2016, section 2.2, for the rule of sizes and ratios.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

# Each head's smallest size as a share of the input; its largest is the next head's smallest.
VOC_SIZES = (0.10, 0.20, 0.37, 0.54, 0.71, 0.88, 1.05)
COCO_SIZES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
ASPECT_RATIOS = (2.0, 1 / 2, 3.0, 1 / 3)
PRIORS_PER_CELL = 2 + len(ASPECT_RATIOS)


class PriorMap(NamedTuple):
    """The priors of one head's map.

    cells: of the map, a side.
    shapes: (width, height) of each prior that every cell has, as shares of the input.
    """

    cells: int
    shapes: tuple[tuple[float, float], ...]


def cell_priors(smallest: float, largest: float) -> list[tuple[float, float]]:
    """(width, height) of one cell's six priors, as shares of the input: ratios 1, 1', 2, 1/2, 3, 1/3."""
    between = math.sqrt(smallest * largest)
    squares = [(smallest, smallest), (between, between)]
    return squares + [(smallest * math.sqrt(r), smallest / math.sqrt(r)) for r in ASPECT_RATIOS]


def ssd_maps(map_sizes: Sequence[int], sizes: Sequence[float]) -> tuple[PriorMap, ...]:
    """Each head's map by SSD's rule, six priors a cell.

    Args:
        map_sizes: each head's map, in cells a side.
        sizes: each head's smallest size and the last one's largest, one more than there are heads.
    """
    if len(sizes) != len(map_sizes) + 1:
        raise ValueError(f"{len(map_sizes)} heads need {len(map_sizes) + 1} sizes, got {len(sizes)}")
    each = zip(map_sizes, sizes[:-1], sizes[1:], strict=True)
    return tuple(PriorMap(cells, tuple(cell_priors(smallest, largest))) for cells, smallest, largest in each)


def make_priors(map_sizes: tuple[int, ...], sizes: tuple[float, ...]) -> Tensor:
    """The priors of all heads by SSD's rule: `place_priors` of `ssd_maps`."""
    return place_priors(ssd_maps(map_sizes, sizes))


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what a validation asked for first must serve training, too
def place_priors(maps: tuple[PriorMap, ...]) -> Tensor:
    """The priors of all heads, unclipped, in the order of the predictions: head, row, column, shape.

    Returns:
        (P, 4) float32, (cx, cy, w, h) relative to the input. The tensor is shared: don't write to it.
    """
    heads = []
    for cells, shapes in maps:
        centres = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
        cy, cx = torch.meshgrid(centres, centres, indexing="ij")
        centre = torch.stack([cx, cy], -1).view(-1, 1, 2)  # (cells², 1, 2)
        size = torch.tensor(shapes).view(1, -1, 2)  # (1, A, 2)
        shape = (cells * cells, len(shapes), 2)
        heads.append(torch.cat([centre.expand(shape), size.expand(shape)], -1).reshape(-1, 4))
    return torch.cat(heads)
