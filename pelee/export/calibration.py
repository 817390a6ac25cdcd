"""Calibration images of int8 quantization."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import DatasetError
from data.images.image_io import find_images, read_image
from data.images.image_slice import ImageFile
from data.images.preprocess import WARP, preprocess

CALIBRATION_IMAGES = 300
COMPARED_IMAGES = 500


@dataclass(frozen=True)
class Calibration:
    """Calibration images, the network's inputs (S, S, 3) RGB of `data.images.preprocess`, and their source's name."""

    images: Sequence[np.ndarray]
    source: str


def choose(images: Sequence[ImageFile], count: int) -> list[ImageFile]:
    """Choose `count` images at random with a fixed seed, in their order; all of them if there are fewer."""
    numbers = random.Random(0).sample(range(len(images)), min(count, len(images)))
    return [images[number] for number in sorted(numbers)]


def read_inputs(images: Sequence[ImageFile], size: int, resize: str = WARP) -> Iterator[np.ndarray]:
    """Read images at the input size of the network: (S, S, 3) RGB, see `data.images.preprocess.preprocess`."""
    return (preprocess(read_image(image), size, resize) for image in images)


def calibrate_on(
    images: Path | Sequence[ImageFile],
    size: int,
    source: str = "",
    count: int = CALIBRATION_IMAGES,
    resize: str = WARP,
) -> Calibration:
    """Read `count` calibration images at the input size: of a folder, or of a list whose name is `source`.

    Raises:
        DatasetError: no such folder.
        ImageError: a folder without images, or an image that cannot be read.
    """
    if isinstance(images, Path):
        if not images.is_dir():
            raise DatasetError(f"{images}: no such folder, expected one with images to calibrate int8 on")
        source = source or images.resolve().name
        images = find_images([images])
    return Calibration(list(read_inputs(choose(images, count), size, resize)), source)
