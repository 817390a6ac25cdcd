"""Tile grid: rows and columns of overlapping tiles that cover an image."""

import math
from dataclasses import dataclass

import numpy as np

from data.errors import SettingsError
from detection.inference.thresholds import TILE_OVERLAP

MAX_TILES_PER_SIDE = 32


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Grid of equally large tiles that overlap their neighbors.

    Attributes:
        rows, columns: number of tiles down and across, 1 to `MAX_TILES_PER_SIDE`.
        overlap: share of a tile's side that it has in common with its neighbor, 0 to 0.5. A box up to that size lies
            wholly inside at least one tile.

    Raises:
        SettingsError: a number out of range.
    """

    rows: int
    columns: int
    overlap: float = TILE_OVERLAP

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= MAX_TILES_PER_SIDE and 1 <= self.columns <= MAX_TILES_PER_SIDE):
            raise SettingsError(
                f"a grid of {self.rows}x{self.columns} tiles, expected 1 to {MAX_TILES_PER_SIDE} rows and columns"
            )
        if not 0 <= self.overlap <= 0.5:  # NaN fails, too
            raise SettingsError(f"a tile overlap of {self.overlap}, expected a share of the tile's side from 0 to 0.5")

    def __len__(self) -> int:
        """Number of tiles."""
        return self.rows * self.columns

    def tiles(self, width: int, height: int) -> np.ndarray:
        """Tiles of an image of width × height pixels: (rows * columns, 4) int64 xyxy, row by row.

        The tiles cover the image. Their sizes differ by at most a pixel of rounding.

        Raises:
            SettingsError: more columns than pixels across, or more rows than pixels down.
        """
        if self.columns > width or self.rows > height:
            raise SettingsError(
                f"a grid of {self.rows}x{self.columns} tiles for an image of {width} × {height} pixels, "
                "expected at least a pixel per tile; take fewer tiles, or auto"
            )
        across, down = _intervals(width, self.columns, self.overlap), _intervals(height, self.rows, self.overlap)
        return np.array([(x1, y1, x2, y2) for y1, y2 in down for x1, x2 in across], np.int64)


def tile_count(length: int, side: float, overlap: float = TILE_OVERLAP) -> int:
    """Number of tiles of about `side` pixels that cover `length` pixels with an overlap, at least 1."""
    return max(1, round((length / side - overlap) / (1 - overlap)))


def _intervals(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    """Start and end of `count` equal intervals that cover 0 to `length`, each overlapping the next by a share."""
    side = length / (count - (count - 1) * overlap)
    step = side * (1 - overlap)
    ends = [length if number == count - 1 else math.ceil(number * step + side) for number in range(count)]
    return [(math.floor(number * step), min(length, end)) for number, end in enumerate(ends)]
