"""Mosaic augmentation: four images in one."""

from collections.abc import Sequence

import numpy as np

from data.augmentation.color import ColorDistortion
from data.augmentation.geometry import INTERPOLATIONS, CropWindow, Sample, boxes_in_window, flip, render


class Mosaic:
    """Joins random crops of four images in quarters of random size.

    Within a quarter, the scale of an image is random between the whole image filling the quarter and the image's scale
    as a sample of its own. Objects are kept where their center is inside the crop.

    Args:
        size: side of the square result in pixels; may be changed between calls.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._distort = ColorDistortion()

    def __call__(
        self, samples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], rng: np.random.Generator
    ) -> Sample:
        """Join four (image, boxes in pixels, labels) as `SSDAugmentation` takes them, and return what it returns."""
        if len(samples) != 4:
            raise ValueError(f"a mosaic joins 4 images, not {len(samples)}")
        size = self.size
        split_x, split_y = (int(value) for value in rng.integers(size // 4, size - size // 4, 2, endpoint=True))
        places = [
            (0, 0, split_x, split_y),
            (split_x, 0, size, split_y),
            (0, split_y, split_x, size),
            (split_x, split_y, size, size),
        ]
        result = np.empty((size, size, 3), dtype=np.uint8)
        all_boxes, all_labels = [], []
        for (image, boxes, labels), (x0, y0, x1, y1) in zip(samples, places, strict=True):
            boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
            across, down = x1 - x0, y1 - y0
            window = _mosaic_window(image, across / size, down / size, rng)
            quarter = np.empty((down, across, 3), dtype=np.uint8)
            interpolation = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]
            kept = render(image, window, quarter, interpolation, self._distort, rng)
            inside, labels = boxes_in_window(boxes, labels, window, kept, across, down)
            inside /= np.array([across, down, across, down], dtype=np.float32)
            if rng.random() < 0.5:
                quarter, inside = flip(quarter, inside)
            result[y0:y1, x0:x1] = quarter
            inside *= np.array([across, down, across, down], dtype=np.float32)
            all_boxes.append((inside + np.array([x0, y0, x0, y0], dtype=np.float32)) / np.float32(size))
            all_labels.append(labels)
        return result, np.concatenate(all_boxes).clip(0, 1), np.concatenate(all_labels)


def _mosaic_window(image: np.ndarray, across: float, down: float, rng: np.random.Generator) -> CropWindow:
    """Draw a crop window for a quarter that has these shares (0..1) of the result's sides."""
    height, width = image.shape[:2]
    scale = rng.uniform(max(across, down), 1.0)
    w = min(max(round(width * across / scale), 1), width)
    h = min(max(round(height * down / scale), 1), height)
    x0, y0 = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    return CropWindow(x0, y0, x0 + w, y0 + h)
