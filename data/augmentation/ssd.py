"""SSD's training augmentation, which Pelee uses (SSD, arXiv 1512.02325, sections 2.2 and 3.6).

The canvas of the expansion, up to 16 times the image's area, is never allocated: expansion and crop together are one
window that may extend beyond the image, and the part of the image inside it is resized once, directly to its place in
the result. Colors are distorted on that part only; the mean color around it is not.
"""

import cv2
import numpy as np

from data.augmentation.color import ColorDistortion
from data.augmentation.geometry import INTERPOLATIONS, CropWindow, Sample, boxes_in_window, centers_inside, flip, render
from data.boxes import box_iou

#: Minimum IoU of a crop with some object; 0: any crop that keeps an object; None: the whole image.
CROP_IOUS: tuple[float | None, ...] = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
CROP_TRIALS = 50
CROP_SCALE = (0.3, 1.0)
CROP_RATIO = (0.5, 2.0)
EXPAND_LIMIT = 4.0


class SSDAugmentation:
    """Color distortion, expansion, IoU-constrained crop, horizontal flip and resize of one training image.

    In the order of the SSD authors' released code: brightness ±32, contrast 0.5-1.5 (before or after the next two),
    saturation 0.5-1.5, hue ±18 degrees, each with probability 0.5; expansion onto a canvas of up to 4 times each side
    with probability 0.5; one of the crops of `CROP_IOUS`; horizontal flip with probability 0.5. Channels are not
    shuffled.

    The result depends only on the arguments and the generator's state.

    Args:
        size: side of the square result in pixels; may be changed between calls (multi-scale training).
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._distort = ColorDistortion()

    def __call__(self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Sample:
        """Augment one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (n, 4) xyxy in pixels of it.
            labels: (n,) integers.
            rng: source of all randomness.

        Returns:
            ((size, size, 3) uint8, (m, 4) float32 xyxy relative to the result in 0..1, (m,) labels), m <= n.
        """
        height, width = image.shape[:2]
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        canvas = expansion(width, height, rng) if rng.random() < 0.5 else CropWindow(0, 0, width, height)
        window = crop(canvas, boxes, rng)
        interpolation = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]
        result = np.empty((self.size, self.size, 3), dtype=np.uint8)
        kept = render(image, window, result, interpolation, self._distort, rng)
        relative, labels = boxes_in_window(boxes, labels, window, kept, self.size, self.size)
        relative /= np.float32(self.size)
        if rng.random() < 0.5:
            result, relative = flip(result, relative)
        return result, relative, labels

    def background(self, image: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """A crop without any object, (size, size, 3) uint8, with distorted colors and flipped half of the time.

        None where `background_crop` finds none. Arguments as in a call; the boxes are those of all objects, crowds too.
        """
        height, width = image.shape[:2]
        window = background_crop(width, height, boxes, rng)
        if window is None:
            return None
        interpolation = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]
        result = np.empty((self.size, self.size, 3), dtype=np.uint8)
        render(image, window, result, interpolation, self._distort, rng)
        return cv2.flip(result, 1) if rng.random() < 0.5 else result


def expansion(width: int, height: int, rng: np.random.Generator) -> CropWindow:
    """Draw a window of 1 to 4 times the sides of an image, with the image at a random place in it."""
    factor = rng.uniform(1.0, EXPAND_LIMIT)
    across, down = int(width * factor), int(height * factor)
    left, top = int(rng.integers(0, across - width + 1)), int(rng.integers(0, down - height + 1))
    return CropWindow(-left, -top, across - left, down - top)


def crop(canvas: CropWindow, boxes: np.ndarray, rng: np.random.Generator) -> CropWindow:
    """Draw one of SSD's crops of the canvas, in the same coordinates.

    Each entry of `CROP_IOUS` has 50 trials to find a window of scale 0.3 to 1 and aspect ratio 1/2 to 2 that contains
    some object's center and has the minimum IoU with an object whose center it contains. The choice is uniform among
    the entries that found one. Without objects any window is accepted.

    Args:
        canvas: the window to crop from.
        boxes: (n, 4) xyxy pixels.
        rng: source of randomness.
    """
    for choice in rng.permutation(len(CROP_IOUS)):  # the first success in a uniform order: uniform among the successes
        least = CROP_IOUS[choice]
        if least is None:
            return canvas
        windows = _crop_trials(canvas, rng)  # (trials, 4)
        if not len(boxes):
            good = np.ones(len(windows), dtype=bool)
        else:
            inside = centers_inside(boxes, windows)  # (trials, n)
            good = (inside & (box_iou(windows[:, None], boxes[None]) >= least)).any(axis=1)
        if good.any():
            return CropWindow(*(int(value) for value in windows[good.argmax()]))
    raise AssertionError("unreachable: the whole canvas is among the choices")


def background_crop(width: int, height: int, boxes: np.ndarray, rng: np.random.Generator) -> CropWindow | None:
    """Draw a window of an image that has no part of a box inside; None where none of 50 trials is such a window.

    Args:
        width, height: size of the image, pixels.
        boxes: (n, 4) xyxy in pixels.
        rng: source of randomness.
    """
    windows = _crop_trials(CropWindow(0, 0, width, height), rng)
    low = np.maximum(windows[:, None, :2], boxes[None, :, :2])
    high = np.minimum(windows[:, None, 2:], boxes[None, :, 2:])
    free = ~(high > low).all(axis=2).any(axis=1)  # (trials,)
    return CropWindow(*(int(value) for value in windows[free.argmax()])) if free.any() else None


def _crop_trials(canvas: CropWindow, rng: np.random.Generator) -> np.ndarray:
    """Draw (CROP_TRIALS, 4) int64 windows of random scale, aspect ratio and place, as SSD's sampler does."""
    scale = rng.uniform(*CROP_SCALE, CROP_TRIALS)
    # A window of this scale and ratio must fit into the canvas: scale * sqrt(ratio) <= 1 and scale / sqrt(ratio) <= 1.
    root = np.sqrt(rng.uniform(np.maximum(CROP_RATIO[0], scale**2), np.minimum(CROP_RATIO[1], scale**-2)))
    across = np.clip(np.rint(canvas.width * scale * root), 1, canvas.width)
    down = np.clip(np.rint(canvas.height * scale / root), 1, canvas.height)
    x0 = canvas.x0 + np.floor(rng.random(CROP_TRIALS) * (canvas.width - across + 1))
    y0 = canvas.y0 + np.floor(rng.random(CROP_TRIALS) * (canvas.height - down + 1))
    return np.stack([x0, y0, x0 + across, y0 + down], axis=1).astype(np.int64)
