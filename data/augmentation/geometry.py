"""Crop windows: render the part of an image inside a window, and transform the boxes in it."""

from dataclasses import dataclass

import cv2
import numpy as np

from data.augmentation.color import ColorDistortion
from data.images.preprocess import MEAN

#: Fill color around an expanded image: the mean that the network subtracts, rounded.
MEAN_COLOR = tuple(round(value) for value in MEAN)
#: Minimum side in pixels of a box in the result; smaller ones are dropped, as they are invisible.
MIN_BOX_SIDE = 1.0
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_AREA)
#: (image (S, S, 3) uint8 RGB, boxes (m, 4) float32 relative xyxy, labels (m,) int64)
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class CropWindow:
    """Rectangle in whole pixels of an image; it may extend beyond the image. x1 and y1 are exclusive."""

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
    """Result of `render`: the part `source` of the image was resized to the part `target` of the result."""

    source: CropWindow
    target: CropWindow


def centers_inside(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(n, 4) boxes, (k, 4) windows -> (k, n) bool: whether each box has its center in each window."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    window = windows[:, None, :]
    inside: np.ndarray = ((center > window[..., :2]) & (center < window[..., 2:])).all(axis=2)
    return inside


def render(
    image: np.ndarray,
    window: CropWindow,
    result: np.ndarray,
    interpolation: int,
    distort: ColorDistortion,
    rng: np.random.Generator,
) -> Placement | None:
    """Fill `result` (h, w, 3) with the part of the image inside `window`, and with the mean color outside the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        window: in pixels of the image.
        result: (h, w, 3) uint8, overwritten.
        interpolation: flag of `cv2.resize`.
        distort: applied to the part of the image, not to the fill color.
        rng: for `distort`.

    Returns:
        The part of the image and its place in the result, both in whole pixels, so that boxes are transformed exactly;
        None where the window does not intersect the image.
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
    left, right = _scaled(source.x0, source.x1, window.x0, window.x1, across)
    top, bottom = _scaled(source.y0, source.y1, window.y0, window.y1, down)
    part = cv2.resize(
        image[source.y0 : source.y1, source.x0 : source.x1],
        (right - left, bottom - top),
        interpolation=interpolation,
    )
    part = distort(part, rng)
    if part.shape != result.shape:
        result[:] = MEAN_COLOR
    result[top:bottom, left:right] = part
    return Placement(source, CropWindow(left, top, right, bottom))


def boxes_in_window(
    boxes: np.ndarray, labels: np.ndarray, window: CropWindow, placement: Placement | None, across: int, down: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes whose center lies in the window, in pixels of the rendered result, clipped to it.

    Args:
        boxes: (n, 4) float32 xyxy in pixels of the image.
        labels: (n,).
        window: the window that was rendered.
        placement: the return value of `render` for it.
        across, down: the result's sides.

    Returns:
        (m, 4) float32 xyxy, (m,) labels; boxes with a side below `MIN_BOX_SIDE` are dropped.
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
    seen = (moved[:, 2:] - moved[:, :2] >= MIN_BOX_SIDE).all(axis=1)
    return moved[seen], labels[kept][seen]


def flip(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flip an image (H, W, 3) and its relative xyxy boxes (n, 4) left to right."""
    return cv2.flip(image, 1), np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)


def _scaled(start: int, stop: int, low: int, high: int, length: int) -> tuple[int, int]:
    """Map start..stop within low..high to 0..length, rounded to whole pixels, at least one."""
    scale = length / (high - low)
    first = min(round((start - low) * scale), length - 1)
    return first, max(round((stop - low) * scale), first + 1)
