"""Calibration images of int8 quantization."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import DatasetError
from data.images.image_io import find_images, read_image
from data.images.image_slice import ImageFile
from data.images.preprocess import preprocess

CALIBRATION_PICTURES = 300
COMPARED_PICTURES = 500


@dataclass(frozen=True)
class Calibration:
    """What int8 is calibrated on: pictures as the network takes them, (S, S, 3) uint8 RGB, and where they came from."""

    pictures: Sequence[np.ndarray]
    source: str


def choose(images: Sequence[ImageFile], count: int) -> list[ImageFile]:
    """The same `count` of the pictures at every call, at random, in their order; all where there are fewer."""
    numbers = random.Random(0).sample(range(len(images)), min(count, len(images)))
    return [images[number] for number in sorted(numbers)]


def read_inputs(images: Sequence[ImageFile], size: int) -> Iterator[np.ndarray]:
    """Pictures as the network takes them: (S, S, 3) uint8 RGB."""
    return (preprocess(read_image(image), size) for image in images)


def calibrate_on(
    pictures: Path | Sequence[ImageFile], size: int, source: str = "", count: int = CALIBRATION_PICTURES
) -> Calibration:
    """`count` pictures for int8 at the network's size: of a folder, or of a list that `source` names.

    Raises:
        DatasetError, ImageError: none there, or one that cannot be read.
    """
    if isinstance(pictures, Path):
        if not pictures.is_dir():
            raise DatasetError(f"{pictures}: no such folder, expected one with pictures to calibrate int8 on")
        source = source or pictures.resolve().name
        images: Sequence[ImageFile] = find_images([pictures])
    else:
        images = pictures
    return Calibration(list(read_inputs(choose(images, count), size)), source)
