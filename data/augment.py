"""The training augmentation of SSD, which Pelee's is (SSD, arXiv 1512.02325, sections 2.2 and 3.6).

The canvas of the expansion, up to 16 times the picture, is never made: expansion and crop together are a window that
may stick out of the picture, and the part of the picture inside it is resized once, straight to its place in the
result. The colours are distorted on that small part, the mean colour around it stays as it is.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from data.preprocess import MEAN

#: The colour around an expanded picture: the mean that the network subtracts, rounded.
MEAN_COLOUR = tuple(round(value) for value in MEAN)
#: Minimum IoU of a crop with some object; 0: any crop that keeps an object; None: the whole picture.
CROP_IOUS: tuple[float | None, ...] = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
CROP_TRIALS = 50
CROP_SCALE = (0.3, 1.0)
CROP_RATIO = (0.5, 2.0)
EXPAND_LIMIT = 4.0
#: A box narrower or lower than this in the result is dropped: what is left of it cannot be seen.
SMALLEST = 1.0

_INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_AREA)

#: (image (S, S, 3) uint8 RGB, boxes (m, 4) float32 relative xyxy, labels (m,) int64)
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


class SSDAugmentation:
    """Colours, expansion, IoU-constrained crop, flip and resize of one training picture.

    In the order of the SSD authors' released code: brightness ±32, contrast 0.5-1.5 (before or after the next two),
    saturation 0.5-1.5, hue ±18 degrees, each at a half chance; expansion onto a canvas of up to 4 times each side at
    a half chance; one of the crops of `CROP_IOUS`; horizontal flip at a half chance. Channels are not shuffled.

    The result depends on nothing but the arguments and the generator's state.

    Args:
        size: side of the square result; may be set anew between two calls (multi-scale training).
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._colours = ColourDistortion()

    def __call__(self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Sample:
        """Augment one picture.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (n, 4) xyxy in pixels of it.
            labels: (n,) integers.
            rng: where all chance comes from.

        Returns:
            ((size, size, 3) uint8, (m, 4) float32 xyxy relative to the result in 0..1, (m,) labels), m <= n.
        """
        height, width = image.shape[:2]
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        canvas = expansion(width, height, rng) if rng.random() < 0.5 else Window(0, 0, width, height)
        window = crop(canvas, boxes, rng)
        interpolation = _INTERPOLATIONS[rng.integers(len(_INTERPOLATIONS))]
        result = np.empty((self.size, self.size, 3), dtype=np.uint8)
        kept = render(image, window, result, interpolation, self._colours, rng)
        relative, labels = boxes_in_window(boxes, labels, window, kept, self.size, self.size)
        relative /= np.float32(self.size)
        if rng.random() < 0.5:
            result, relative = flip(result, relative)
        return result, relative, labels


class Mosaic:
    """Four pictures in one, each a random window of it in a quarter of random size.

    Within a quarter, a picture is shown at a random scale between just filling it with the whole picture and its
    scale as a picture of its own, which makes it a crop, too; objects stay by their centre.

    Args:
        size: side of the square result; may be set anew.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._colours = ColourDistortion()

    def __call__(
        self, samples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], rng: np.random.Generator
    ) -> Sample:
        """Join four (image, boxes in pixels, labels) as `SSDAugmentation` takes them, and return what it returns."""
        if len(samples) != 4:
            raise ValueError(f"a mosaic joins 4 pictures, not {len(samples)}")
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
            interpolation = _INTERPOLATIONS[rng.integers(len(_INTERPOLATIONS))]
            kept = render(image, window, quarter, interpolation, self._colours, rng)
            inside, labels = boxes_in_window(boxes, labels, window, kept, across, down)
            inside /= np.array([across, down, across, down], dtype=np.float32)
            if rng.random() < 0.5:
                quarter, inside = flip(quarter, inside)
            result[y0:y1, x0:x1] = quarter
            inside *= np.array([across, down, across, down], dtype=np.float32)
            all_boxes.append((inside + np.array([x0, y0, x0, y0], dtype=np.float32)) / np.float32(size))
            all_labels.append(labels)
        return result, np.concatenate(all_boxes).clip(0, 1), np.concatenate(all_labels)


class ColourDistortion:
    """SSD's photometric distortion, put together of albumentations' transforms.

    `RandomBrightnessContrast` is SSD's additive brightness and multiplicative contrast as it stands; of `ColorJitter`
    the saturation (towards grey) and the hue (a turn) are used.
    """

    def __init__(self) -> None:
        # It asks PyPI for newer versions when it is imported; nothing here calls out unasked.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as A

        def contrast() -> Any:
            return A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.5, p=0.5)

        def saturation_and_hue() -> list[Any]:
            fixed = {"brightness": (1, 1), "contrast": (1, 1)}
            return [
                A.ColorJitter(**fixed, saturation=(0.5, 1.5), hue=(0, 0), p=0.5),
                A.ColorJitter(**fixed, saturation=(1, 1), hue=(-18 / 360, 18 / 360), p=0.5),
            ]

        self._transform = A.Compose(
            [
                A.RandomBrightnessContrast(brightness_limit=32 / 255, contrast_limit=0, p=0.5),
                A.OneOf(
                    [
                        A.Sequential([contrast(), *saturation_and_hue()], p=0.5),
                        A.Sequential([*saturation_and_hue(), contrast()], p=0.5),
                    ],
                    p=1,
                ),
            ]
        )

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> the same, distorted; `image` itself is left as it is."""
        # Handed over on every call: its own seeding adds the worker's number, and a resumed run would differ.
        self._transform.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        distorted: np.ndarray = self._transform(image=image)["image"]
        return distorted


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle in whole pixels of a picture, which it may stick out of. x1 and y1 are exclusive."""

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
    """What `render` did: the part `source` of the picture went to the part `target` of the result."""

    source: Window
    target: Window


def expansion(width: int, height: int, rng: np.random.Generator) -> Window:
    """A window of 1 to 4 times the sides of a picture, with the picture at a random place in it."""
    factor = rng.uniform(1.0, EXPAND_LIMIT)
    across, down = int(width * factor), int(height * factor)
    left, top = int(rng.integers(0, across - width + 1)), int(rng.integers(0, down - height + 1))
    return Window(-left, -top, across - left, down - top)


def crop(canvas: Window, boxes: np.ndarray, rng: np.random.Generator) -> Window:
    """One of SSD's crops of the canvas, in the same coordinates.

    Each entry of `CROP_IOUS` has 50 trials to find a window of scale 0.3 to 1 and ratio 1/2 to 2 that holds some
    object's centre and has the minimum IoU with some object that it holds; the choice is even among the entries that
    found one. Without objects any window will do.

    Args:
        canvas: what to crop from.
        boxes: (n, 4) xyxy pixels.
        rng: the source of chance.
    """
    for choice in rng.permutation(len(CROP_IOUS)):  # the first to succeed in an even order: even among the successes
        least = CROP_IOUS[choice]
        if least is None:
            return canvas
        windows = _crop_trials(canvas, rng)  # (trials, 4)
        if not len(boxes):
            good = np.ones(len(windows), dtype=bool)
        else:
            held = centres_inside(boxes, windows)  # (trials, n)
            good = (held & (_iou(windows, boxes) >= least)).any(axis=1)
        if good.any():
            return Window(*(int(value) for value in windows[good.argmax()]))
    raise AssertionError("unreachable: the whole canvas is among the choices")


def centres_inside(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(n, 4) boxes, (k, 4) windows -> (k, n) bool: whose centre lies in which window."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    window = windows[:, None, :]
    inside: np.ndarray = ((centre > window[..., :2]) & (centre < window[..., 2:])).all(axis=2)
    return inside


def render(
    image: np.ndarray,
    window: Window,
    result: np.ndarray,
    interpolation: int,
    colours: ColourDistortion,
    rng: np.random.Generator,
) -> Placement | None:
    """Fill `result` (h, w, 3) with what `window` shows of the picture, and with the mean colour around it.

    Returns:
        Where the picture went, in whole pixels on both sides, so that boxes can follow it exactly; None where the
        window shows nothing of the picture.
    """
    height, width = image.shape[:2]
    down, across = result.shape[:2]
    source = Window(
        min(max(window.x0, 0), width),
        min(max(window.y0, 0), height),
        max(min(window.x1, width), 0),
        max(min(window.y1, height), 0),
    )
    if source.width <= 0 or source.height <= 0:
        result[:] = MEAN_COLOUR
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
        result[:] = MEAN_COLOUR
    result[top:bottom, left:right] = part
    return Placement(source, Window(left, top, right, bottom))


def boxes_in_window(
    boxes: np.ndarray, labels: np.ndarray, window: Window, placement: Placement | None, across: int, down: int
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes whose centre lies in the window, in pixels of the rendered result, clipped to it.

    Args:
        boxes: (n, 4) float32 xyxy in pixels of the picture.
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
    kept = centres_inside(boxes, np.array([[window.x0, window.y0, window.x1, window.y1]]))[0]
    source, target = placement.source, placement.target
    scale = np.array([target.width / source.width, target.height / source.height] * 2, dtype=np.float32)
    offset = np.array([source.x0, source.y0] * 2, dtype=np.float32)
    moved = (boxes[kept] - offset) * scale + np.array([target.x0, target.y0] * 2, dtype=np.float32)
    moved = moved.clip(0, np.array([across, down] * 2, dtype=np.float32))
    seen = (moved[:, 2:] - moved[:, :2] >= SMALLEST).all(axis=1)
    return moved[seen], labels[kept][seen]


def flip(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror a picture (H, W, 3) and its relative xyxy boxes (n, 4) left to right."""
    return cv2.flip(image, 1), np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)


def _whole(start: int, stop: int, low: int, high: int, length: int) -> tuple[int, int]:
    """start..stop within low..high -> the same share of 0..length, in whole pixels, at least one."""
    scale = length / (high - low)
    first = min(round((start - low) * scale), length - 1)
    return first, max(round((stop - low) * scale), first + 1)


def _crop_trials(canvas: Window, rng: np.random.Generator) -> np.ndarray:
    """(CROP_TRIALS, 4) int64 windows of random scale, ratio and place, as SSD's sampler draws them."""
    scale = rng.uniform(*CROP_SCALE, CROP_TRIALS)
    # A window of this scale and ratio must fit into the canvas: scale * sqrt(ratio) <= 1 and scale / sqrt(ratio) <= 1.
    root = np.sqrt(rng.uniform(np.maximum(CROP_RATIO[0], scale**2), np.minimum(CROP_RATIO[1], scale**-2)))
    across = np.clip(np.rint(canvas.width * scale * root), 1, canvas.width)
    down = np.clip(np.rint(canvas.height * scale / root), 1, canvas.height)
    x0 = canvas.x0 + np.floor(rng.random(CROP_TRIALS) * (canvas.width - across + 1))
    y0 = canvas.y0 + np.floor(rng.random(CROP_TRIALS) * (canvas.height - down + 1))
    return np.stack([x0, y0, x0 + across, y0 + down], axis=1).astype(np.int64)


def _mosaic_window(image: np.ndarray, across: float, down: float, rng: np.random.Generator) -> Window:
    """A window of the picture for a quarter with these shares (0..1) of the result's sides."""
    height, width = image.shape[:2]
    scale = rng.uniform(max(across, down), 1.0)
    w = min(max(round(width * across / scale), 1), width)
    h = min(max(round(height * down / scale), 1), height)
    x0, y0 = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    return Window(x0, y0, x0 + w, y0 + h)


def _iou(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(k, 4), (n, 4) -> (k, n) intersection over union."""
    low = np.maximum(windows[:, None, :2], boxes[None, :, :2])
    high = np.minimum(windows[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = (windows[:, 2:] - windows[:, :2]).prod(axis=1)[:, None] + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[None]
    iou: np.ndarray = shared / (area - shared)
    return iou
