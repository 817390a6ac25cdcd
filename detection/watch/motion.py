"""Motion gate: a difference on a small gray image decides whether a frame goes to the network, and where it moves."""

from dataclasses import dataclass

import cv2
import numpy as np

WIDTH = 160  # of the gray image, pixels
NOISE = 14  # gray levels; smaller differences are noise of the sensor and of the codec
SMALLEST = 6  # changed pixels of the gray image that are motion: an object of 2 % of the frame's height
FLASH = 0.7  # share of changed pixels from which it is light that changes, or the camera that moves: all is looked at
BLUR = 5  # pixels of the blur that takes noise away
LIGHT = 32  # gray levels by which a change of all the light is taken out of the difference


@dataclass(frozen=True, slots=True)
class Motion:
    """Result of a frame.

    Attributes:
        moving: whether anything moves.
        boxes: (n, 4) int64 xyxy, moving parts in pixels of the frame, the largest first; empty where all of it changes.
    """

    moving: bool
    boxes: np.ndarray


class MotionGate:
    """Compares frames with the last one that went to the network, so that slow motion adds up. Not thread-safe."""

    def __init__(self) -> None:
        """Start without a frame: the first one moves."""
        self._reference: np.ndarray | None = None
        self._latest: np.ndarray | None = None

    def look(self, luma: np.ndarray) -> Motion:
        """Compare a frame, (H, W) uint8 brightness or (H, W, 3) uint8 RGB, with the last one that was analyzed."""
        height, width = luma.shape[:2]
        size = (WIDTH, max(8, round(WIDTH * height / width)))
        small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        if small.ndim == 3:
            small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        small = cv2.GaussianBlur(small, (BLUR, BLUR), 0)
        self._latest = small
        if self._reference is None or self._reference.shape != small.shape:
            return Motion(True, _none())
        difference = small.astype(np.int16) - self._reference
        # Clouds and the camera's exposure change all of the image by about the same.
        difference -= np.int16(np.clip(np.median(difference), -LIGHT, LIGHT))
        changed = (np.abs(difference) > NOISE).astype(np.uint8)
        count = int(changed.sum())
        if count < SMALLEST:
            return Motion(False, _none())
        if count > FLASH * changed.size:
            return Motion(True, _none())
        return self._parts(changed, width / size[0], height / size[1])

    def analyzed(self) -> None:
        """Note that the frame of the last `look` goes to the network."""
        self._reference = self._latest

    @staticmethod
    def _parts(changed: np.ndarray, scale_x: float, scale_y: float) -> Motion:
        """Boxes of connected changed pixels, in the frame's pixels."""
        joined = cv2.dilate(changed, np.ones((5, 5), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
        parts = [(int(area), x, y, x + w, y + h) for x, y, w, h, area in stats[1:].tolist()]
        inside = [part for part in parts if changed[part[2] : part[4], part[1] : part[3]].sum() >= SMALLEST]
        boxes = [[x1, y1, x2, y2] for _, x1, y1, x2, y2 in sorted(inside, reverse=True)]
        if not boxes:
            return Motion(False, _none())
        scaled = np.array(boxes, np.float64) * (scale_x, scale_y, scale_x, scale_y)
        return Motion(True, scaled.round().astype(np.int64))


def tiles_of_motion(tiles: np.ndarray, boxes: np.ndarray, most: int) -> np.ndarray:
    """Choose the tiles in which parts move.

    Args:
        tiles: (T, 4) xyxy in pixels.
        boxes: (n, 4) xyxy moving parts, the most important first.
        most: largest number of tiles.

    Returns:
        (k, 4) of the tiles, k <= most: for each part the smallest tile that holds most of it; a part that is larger
        than a tile is found in the whole image, and gets none.
    """
    chosen: list[int] = []
    if len(tiles) == 0 or most <= 0:
        return tiles[:0]
    areas = np.prod(tiles[:, 2:] - tiles[:, :2], axis=1)
    for box in boxes:
        overlap = np.minimum(tiles[:, 2:], box[2:]) - np.maximum(tiles[:, :2], box[:2])
        shared = np.prod(np.clip(overlap, 0, None), axis=1) / max(1, int(np.prod(box[2:] - box[:2])))
        holding = np.flatnonzero(shared >= 0.9)
        if len(holding):
            best = int(holding[np.lexsort((-shared[holding], areas[holding]))[0]])
            if best not in chosen:
                chosen.append(best)
        if len(chosen) == most:
            break
    return tiles[chosen]


def _none() -> np.ndarray:
    return np.empty((0, 4), np.int64)
