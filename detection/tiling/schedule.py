"""Tile schedule of a live source: in each frame as many tiles as its frame rate leaves time for, in turn."""

import math

import numpy as np

from detection.tiling.merging import EDGE_SHARE, MAX_BOX_SHARE
from detection.tiling.tiling import Tiling

#: Share of the time between two frames that the network is given; the rest is for decoding, drawing and encoding.
NETWORK_SHARE = 0.7
#: Weight of the latest frame in the moving average of the time per view.
SMOOTHING = 0.2
#: Factor on the number of tiles after a dropped frame, and its recovery per frame without one.
BACK_OFF, RECOVERY = 0.8, 0.01


class TileSchedule:
    """Chooses the tiles of each frame of one source.

    The whole image is always detected in, and is not among the tiles. Half of the tiles at most go to small tracked
    objects, so that they are found in every frame; the others are taken in turn.
    """

    def __init__(self, tiling: Tiling, input_size: int) -> None:
        """Take the tiling, and the side of the network's input in pixels."""
        self._tiling, self._input_size = tiling, input_size
        self._size = (0, 0)
        self._tiles = np.empty((0, 4), np.int64)
        self._turn = 0
        self._dropped = 0
        self._scale = 1.0
        self._seconds_per_view: float | None = None

    def next_tiles(self, width: int, height: int, seconds: float, tracked: np.ndarray, dropped: int) -> np.ndarray:
        """Tiles of the next frame.

        Args:
            width, height: size of the frame, pixels.
            seconds: time until the network is needed for the next frame.
            tracked: (k, 4) xyxy boxes of tracked objects in pixels; those too large for a tile are left out here.
            dropped: frames that the source has dropped so far.

        Returns:
            (T, 4) int64 xyxy in pixels; none before the first time has been recorded.
        """
        if (width, height) != self._size:
            self._size, self._turn = (width, height), 0
            self._tiles = self._tiling.tiles(width, height, self._input_size)
        self._scale = self._scale * BACK_OFF if dropped > self._dropped else min(1.0, self._scale + RECOVERY)
        self._dropped = dropped
        if self._seconds_per_view is None or len(self._tiles) == 0:
            return self._tiles[:0]
        views = NETWORK_SHARE * self._scale * seconds / self._seconds_per_view
        count = min(len(self._tiles), max(0, math.floor(views) - 1))
        chosen = self._tiles_of(tracked)[: math.ceil(count / 2)]
        taken = set(chosen)
        while len(chosen) < count:
            if self._turn not in taken:
                chosen.append(self._turn)
            self._turn = (self._turn + 1) % len(self._tiles)
        return self._tiles[chosen]

    def record(self, views: int, seconds: float) -> None:
        """Take the time that the network has needed for the views of a frame: its tiles, and the whole image."""
        latest = seconds / views
        known = self._seconds_per_view
        self._seconds_per_view = latest if known is None else known + SMOOTHING * (latest - known)

    def _tiles_of(self, boxes: np.ndarray) -> list[int]:
        """For each box that is small in a tile and not at its edge: the tile with the nearest center; no repeats."""
        if len(boxes) == 0:
            return []
        low, high = self._tiles[:, :2], self._tiles[:, 2:]
        sides = high - low
        margin = 2 * EDGE_SHARE * sides
        chosen: dict[int, None] = {}
        for box in boxes:
            extent = box[2:] - box[:2]
            fits = (box[:2] >= low + margin) | (low == 0)
            fits &= (box[2:] <= high - margin) | (high == self._size)
            fits[:, 0] &= extent.prod() < MAX_BOX_SHARE**2 * sides.prod(axis=1)
            indices = np.flatnonzero(fits.all(axis=1))
            if len(indices):
                offsets = (box[:2] + box[2:] - low[indices] - high[indices]) / sides[indices]
                chosen[int(indices[np.square(offsets).sum(axis=1).argmin()])] = None
        return list(chosen)
