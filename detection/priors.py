"""The priors (default boxes) that every prediction is made against.

Source: the paper, section 3, and Liu et al., "SSD", 2016, section 2.2, for the rule of sizes and ratios.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

# Each head's smallest size as a share of the input; its largest is the next head's smallest.
VOC_SIZES = (0.10, 0.20, 0.37, 0.54, 0.71, 0.88, 1.05)
COCO_SIZES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
ASPECT_RATIOS = (2.0, 1 / 2, 3.0, 1 / 3)
PRIORS_PER_CELL = 2 + len(ASPECT_RATIOS)


def cell_priors(smallest: float, largest: float) -> list[tuple[float, float]]:
    """(width, height) of one cell's six priors, as shares of the input: ratios 1, 1', 2, 1/2, 3, 1/3."""
    between = math.sqrt(smallest * largest)
    squares = [(smallest, smallest), (between, between)]
    return squares + [(smallest * math.sqrt(r), smallest / math.sqrt(r)) for r in ASPECT_RATIOS]


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what a validation asked for first must serve training, too
def make_priors(map_sizes: tuple[int, ...], sizes: tuple[float, ...]) -> Tensor:
    """The priors of all heads, unclipped, in the order of the predictions: head, row, column, ratio.

    Args:
        map_sizes: each head's map, in cells a side.
        sizes: each head's smallest size and the last one's largest, one more than there are heads.

    Returns:
        (P, 4) float32, (cx, cy, w, h) relative to the input. The tensor is shared: don't write to it.
    """
    if len(sizes) != len(map_sizes) + 1:
        raise ValueError(f"{len(map_sizes)} heads need {len(map_sizes) + 1} sizes, got {len(sizes)}")
    heads = []
    for cells, smallest, largest in zip(map_sizes, sizes[:-1], sizes[1:], strict=True):
        centres = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
        cy, cx = torch.meshgrid(centres, centres, indexing="ij")
        centre = torch.stack([cx, cy], -1).view(-1, 1, 2)  # (cells², 1, 2)
        size = torch.tensor(cell_priors(smallest, largest)).view(1, -1, 2)  # (1, 6, 2)
        shape = (cells * cells, PRIORS_PER_CELL, 2)
        heads.append(torch.cat([centre.expand(shape), size.expand(shape)], -1).reshape(-1, 4))
    return torch.cat(heads)
