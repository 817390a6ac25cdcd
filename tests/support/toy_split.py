"""Toy split whose objects a detector finds by the number in the image."""

from pathlib import Path

import numpy as np

from data.datasets.records import Dataset, Record
from data.images.image_io import write_image
from detection.inference.prediction import Prediction

NAMES = ("dog", "[b]cat", "cow")


def dataset(folder: Path, images: int = 7, size: tuple[int, int] | None = (64, 48)) -> Dataset:
    """Images of 64 x 48 whose red is their number; one object each, dogs and cats in turn, and never a cow."""
    records = []
    for number in range(images):
        image = np.zeros((48, 64, 3), np.uint8)
        image[..., 0] = number
        write_image(folder / f"{number}.png", image)
        box = np.array([[number, 5, number + 20, 40]], np.float32)
        flags, area = np.zeros(1, bool), np.array([700], np.float32)
        label = np.array([number % 2])
        records.append(Record(folder / f"{number}.png", str(number), box, label, flags, flags, area, size))
    return Dataset("toy", "test", NAMES, records, ["a line about the data"])


def detect_by_number(images: list[np.ndarray]) -> list[Prediction]:
    """Finds every object, by the number in the image: right only if images and records stay together."""
    numbers = [int(image[0, 0, 0]) for image in images]
    return [
        Prediction(np.array([[n, 5, n + 20, 40]], np.float32), np.array([0.9], np.float32), np.array([n % 2]))
        for n in numbers
    ]
