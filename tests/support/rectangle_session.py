"""A runtime whose answers can be computed by hand: it finds the red rectangle of a picture, and the white one."""

from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path

import numpy as np

from detection.detector import Detector
from detection.video.video_writer import video_writer
from weights.card import Card

CLASS_NAMES = ["red thing", "white thing", "unseen"]
RED, WHITE, DARK = (230, 20, 20), (255, 255, 255), (40, 40, 40)
SCORES = (0.9, 0.6)  # of the red one, and of the white one


class RectangleRuntime:
    """Two priors: one around all red pixels, one around all white ones; without any, its score is 0."""

    name = "rectangles"
    input_size = 128
    parallel = 2
    batch = 1

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert images.dtype == np.uint8 and images.shape[1:] == (128, 128, 3)
        self.batches.append(len(images))
        scores = np.zeros((len(images), 2, 3), np.float32)
        boxes = np.zeros((len(images), 2, 4), np.float32)
        for index, image in enumerate(images.astype(int)):
            red = (image[..., 0] > 140) & (image[..., 1] < 110) & (image[..., 2] < 110)
            white = (image > 140).all(axis=2)
            for label, mask in enumerate((red, white)):
                rows, columns = np.nonzero(mask)
                if len(rows) >= 4:
                    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                    boxes[index, label] = box / 128
                    scores[index, label, label] = SCORES[label]
        return scores, boxes

    def submit(self, images: np.ndarray) -> "Future[tuple[np.ndarray, np.ndarray]]":
        result: Future[tuple[np.ndarray, np.ndarray]] = Future()
        try:
            result.set_result(self(images))
        except Exception as error:
            result.set_exception(error)
        return result


def make_card(**changes: object) -> Card:
    values: dict = {"name": "rectangles", "task": "detection", "architecture": "fake", "input_size": 128}
    return Card(**(values | {"class_names": list(CLASS_NAMES), "default_confidence": 0.5} | changes))


def make_detector(**changes: object) -> Detector:
    return Detector(RectangleRuntime(), make_card(**changes))


def picture(
    width: int = 256,
    height: int = 128,
    box: tuple[int, int, int, int] = (64, 32, 192, 96),
    colour: tuple[int, int, int] = RED,
) -> np.ndarray:
    """(height, width, 3) uint8: a filled rectangle, xyxy, on dark ground."""
    image = np.full((height, width, 3), DARK, np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = colour
    return image


def clip(path: Path, frames: int = 12, width: int = 128, height: int = 96, rate: Fraction = Fraction(25)) -> Path:
    """Write a video whose red rectangle goes 4 pixels to the right with every frame."""
    with video_writer(path, (width, height), rate) as writer:
        for index in range(frames):
            writer.write(picture(width, height, (8 + 4 * index % 64, 24, 40 + 4 * index % 64, 56)))
    return path
