"""Tiling: which grids of tiles of an image are detected in beside the whole image."""

import math
import re
from dataclasses import dataclass
from typing import Self

import numpy as np

from data.errors import SettingsError
from detection.inference.thresholds import TILE_OVERLAP
from detection.tiling.grid import TileGrid, tile_count

#: Magnification of the finest tiles of an automatic tiling: an object of 12 pixels has 24 at the network's input.
MAGNIFICATION = 2.0
#: Rows or columns of the finest automatic grid; larger images are magnified less.
MAX_AUTO_SIDE = 16
EXPECTED = "expected auto, off, a number such as 2, ROWSxCOLUMNS such as 2x3, or several joined by + such as 2+3"


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles to detect in beside the whole image.

    Attributes:
        grids: grids of every image; empty for automatic ones, which depend on the image's size: the finest magnifies
            the image by `MAGNIFICATION` at the network's input, each coarser one has half its rows and columns, so
            that objects of every size are small in one grid and whole in another. No tiles for an image that is not
            larger than the input.
        max_tiles: most tiles of an automatic tiling; the finest grids are left out until the others have no more. None
            for no limit.
    """

    grids: tuple[TileGrid, ...] = ()
    max_tiles: int | None = None

    @classmethod
    def parse(cls, text: str, overlap: float = TILE_OVERLAP) -> Self | None:
        """Tiling of "auto", "2" (2 rows, 2 columns), "2x3" (2 rows, 3 columns) or "2+3" (both); None for "off".

        Raises:
            SettingsError: anything else, or a number out of range.
        """
        text = text.strip().lower()
        if text == "off":
            return None
        if text == "auto":
            return cls()
        return cls(tuple(_grid(part, overlap, text) for part in text.split("+")))

    def grids_of(self, width: int, height: int, input_size: int) -> tuple[TileGrid, ...]:
        """Grids of an image of width × height pixels for a network with an input of `input_size` pixels a side."""
        if self.grids:
            return self.grids
        if max(width, height) <= input_size:
            return ()
        side = input_size / MAGNIFICATION
        rows, columns = (min(MAX_AUTO_SIDE, tile_count(length, side)) for length in (height, width))
        grids = []
        while max(rows, columns) > 1:
            grids.append(TileGrid(rows, columns))
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        while self.max_tiles is not None and sum(map(len, grids)) > self.max_tiles:
            del grids[0]
        return tuple(grids)

    def tiles(self, width: int, height: int, input_size: int) -> np.ndarray:
        """Tiles of an image: (T, 4) int64 xyxy in pixels, finest grid first where automatic. T may be 0.

        Raises:
            SettingsError: a grid with more rows or columns than the image has pixels.
        """
        grids = self.grids_of(width, height, input_size)
        return np.concatenate([np.empty((0, 4), np.int64), *(grid.tiles(width, height) for grid in grids)])


def _grid(part: str, overlap: float, text: str) -> TileGrid:
    match = re.fullmatch(r"(\d{1,4})(?:[x×](\d{1,4}))?", part, re.ASCII)
    if match is None:
        raise SettingsError(f"tiles {text!r}, {EXPECTED}")
    rows, columns = match.groups()
    return TileGrid(int(rows), int(columns or rows), overlap)
