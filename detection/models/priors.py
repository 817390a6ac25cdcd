"""Priors (default boxes) of SSD.

Source: the paper, section 3, and Liu et al., "SSD", 2016, section 2.2, for the rule of sizes and ratios.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

# Smallest prior size of each head as a fraction of the input; the largest is the smallest of the next head.
VOC_SIZES = (0.10, 0.20, 0.37, 0.54, 0.71, 0.88, 1.05)
COCO_SIZES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
ASPECT_RATIOS = (2.0, 1 / 2, 3.0, 1 / 3)
PRIORS_PER_CELL = 2 + len(ASPECT_RATIOS)


class PriorMap(NamedTuple):
    """Priors of one head.

    Attributes:
        cells: side of the feature map in cells.
        shapes: (width, height) of the priors of a cell, as fractions of the input.
        span: cells that the input's side counts as, input side / step, which spaces the centers; 0 for `cells`.
            SSD's published steps differ from it by rounding: 300 / 8 = 37.5 for a map of 38 cells.
    """

    cells: int
    shapes: tuple[tuple[float, float], ...]
    span: float = 0.0


def cell_priors(smallest: float, largest: float) -> list[tuple[float, float]]:
    """Shapes (width, height) of the six priors of a cell, as fractions of the input: ratios 1, 1', 2, 1/2, 3, 1/3."""
    geometric_mean = math.sqrt(smallest * largest)
    squares = [(smallest, smallest), (geometric_mean, geometric_mean)]
    return squares + [(smallest * math.sqrt(r), smallest / math.sqrt(r)) for r in ASPECT_RATIOS]


def ssd_maps(map_sizes: Sequence[int], sizes: Sequence[float]) -> tuple[PriorMap, ...]:
    """Prior maps of all heads by SSD's rule, six priors per cell.

    Args:
        map_sizes: side of each head's feature map in cells.
        sizes: smallest size of each head, then the largest of the last head: one more than there are heads.
    """
    if len(sizes) != len(map_sizes) + 1:
        raise ValueError(f"{len(map_sizes)} heads need {len(map_sizes) + 1} sizes, got {len(sizes)}")
    each = zip(map_sizes, sizes[:-1], sizes[1:], strict=True)
    return tuple(PriorMap(cells, tuple(cell_priors(smallest, largest))) for cells, smallest, largest in each)


def clip_priors(maps: Iterable[PriorMap]) -> tuple[PriorMap, ...]:
    """Prior maps whose shapes are at most the input: what is trained with clipped priors describes boxes by them."""
    return tuple(
        one._replace(shapes=tuple((min(width, 1.0), min(height, 1.0)) for width, height in one.shapes)) for one in maps
    )


def make_priors(map_sizes: tuple[int, ...], sizes: tuple[float, ...]) -> Tensor:
    """Priors of all heads by SSD's rule: `generate_priors` of `ssd_maps`."""
    return generate_priors(ssd_maps(map_sizes, sizes))


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a tensor cached during validation must be usable in training
def generate_priors(maps: tuple[PriorMap, ...]) -> Tensor:
    """Priors of all heads, unclipped, in prediction order: head, row, column, shape.

    Returns:
        (P, 4) float32, (cx, cy, w, h) relative to the input. The tensor is cached: do not modify it.
    """
    heads = []
    for cells, shapes, span in maps:
        centers = (torch.arange(cells, dtype=torch.float32) + 0.5) / (span or cells)
        cy, cx = torch.meshgrid(centers, centers, indexing="ij")
        center = torch.stack([cx, cy], -1).view(-1, 1, 2)  # (cells², 1, 2)
        size = torch.tensor(shapes).view(1, -1, 2)  # (1, A, 2)
        shape = (cells * cells, len(shapes), 2)
        heads.append(torch.cat([center.expand(shape), size.expand(shape)], -1).reshape(-1, 4))
    return torch.cat(heads)
