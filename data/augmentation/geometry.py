"""Windows of an image: rendering them, and the boxes that lie in them."""

from dataclasses import dataclass

import cv2
import numpy as np

from data.augmentation.color import ColorDistortion
from data.images.preprocess import MEAN

#: The colour around an expanded image: the mean that the network subtracts, rounded.
MEAN_COLOR = tuple(round(value) for value in MEAN)
#: A box narrower or lower than this in the result is dropped: what is left of it cannot be seen.
SMALLEST = 1.0
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_AREA)
#: (image (S, S, 3) uint8 RGB, boxes (m, 4) float32 relative xyxy, labels (m,) int64)
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class CropWindow:
    """A rectangle in whole pixels of an image, which it may stick out of. x1 and y1 are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """In pixels."""
        return self.y1 - self.y0


@dataclass(frozen=True, slots=True)
class Placement:
    """What `render` did: the part `source` of the image went to the part `target` of the result."""

    source: CropWindow
    target: CropWindow


def centers_inside(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(n, 4) boxes, (k, 4) windows -> (k, n) bool: whose centre lies in which window."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    window = windows[:, None, :]
    inside: np.ndarray = ((centre > window[..., :2]) & (centre < window[..., 2:])).all(axis=2)
    return inside


def render(
    image: np.ndarray,
    window: CropWindow,
    result: np.ndarray,
    interpolation: int,
    colours: ColorDistortion,
    rng: np.random.Generator,
) -> Placement | None:
    """Fill `result` (h, w, 3) with what `window` shows of the image, and with the mean colour around it.

    Returns:
        Where the image went, in whole pixels on both sides, so that boxes can follow it exactly; None where the
        window shows nothing of the image.
    """
    height, width = image.shape[:2]
    down, across = result.shape[:2]
    source = CropWindow(
        min(max(window.x0, 0), width),
        min(max(window.y0, 0), height),
        max(min(window.x1, width), 0),
        max(min(window.y1, height), 0),
    )
    if source.width <= 0 or source.height <= 0:
        result[:] = MEAN_COLOR
        return None
    left, right = _whole(source.x0, source.x1, window.x0, window.x1, across)
    top, bottom = _whole(source.y0, source.y1, window.y0, window.y1, down)
    part = cv2.resize(
        image[source.y0 : source.y1, source.x0 : source.x1],
        (right - left, bottom - top),
        interpolation=interpolation,
    )
    part = colours(part, rng)
    if part.shape != result.shape:
        result[:] = MEAN_COLOR
    result[top:bottom, left:right] = part
    return Placement(source, CropWindow(left, top, right, bottom))


def boxes_in_window(
    boxes: np.ndarray, labels: np.ndarray, window: CropWindow, placement: Placement | None, across: int, down: int
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes whose centre lies in the window, in pixels of the rendered result, clipped to it.

    Args:
        boxes: (n, 4) float32 xyxy in pixels of the image.
        labels: (n,).
        window: what was shown.
        placement: what `render` returned for it.
        across, down: the result's sides.

    Returns:
        (m, 4) float32 xyxy, (m,) labels; without the boxes of which less than `SMALLEST` pixels are left.
    """
    labels = np.asarray(labels)
    if placement is None or not len(boxes):
        return np.zeros((0, 4), dtype=np.float32), labels[:0]
    kept = centers_inside(boxes, np.array([[window.x0, window.y0, window.x1, window.y1]]))[0]
    source, target = placement.source, placement.target
    scale = np.array([target.width / source.width, target.height / source.height] * 2, dtype=np.float32)
    offset = np.array([source.x0, source.y0] * 2, dtype=np.float32)
    moved = (boxes[kept] - offset) * scale + np.array([target.x0, target.y0] * 2, dtype=np.float32)
    moved = moved.clip(0, np.array([across, down] * 2, dtype=np.float32))
    seen = (moved[:, 2:] - moved[:, :2] >= SMALLEST).all(axis=1)
    return moved[seen], labels[kept][seen]


def flip(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror an image (H, W, 3) and its relative xyxy boxes (n, 4) left to right."""
    return cv2.flip(image, 1), np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)


def _whole(start: int, stop: int, low: int, high: int, length: int) -> tuple[int, int]:
    """start..stop within low..high -> the same share of 0..length, in whole pixels, at least one."""
    scale = length / (high - low)
    first = min(round((start - low) * scale), length - 1)
    return first, max(round((stop - low) * scale), first + 1)
