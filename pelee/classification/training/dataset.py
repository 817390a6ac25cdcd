"""Batches of a classification set's pictures, decoded once and held in memory where they fit."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.classification.image_folder import ImageFolderDataset
from data.errors import DatasetError, ImageError
from data.images.preprocess import preprocess

MEMORY_SHARE = 0.4  # of what is free, that held pictures may take


class ClassificationBatch(NamedTuple):
    """images (N, 3, S, S) uint8, channels-last in memory; labels (N,) int64; places (N,) int64 in the split's list;
    step: of the run, which random numbers go by; unreadable: what was left out, as one-line errors."""

    images: Tensor
    labels: Tensor
    places: Tensor
    step: int
    unreadable: list[str]


class ImageBatches(Dataset[ClassificationBatch]):
    """Batches of pictures, each warped to size×size; all of them held as uint8 (N × size² × 3 bytes) where they fit.

    A picture that cannot be read is left out of its batch, and named.

    Args:
        cached: None decides by the memory that is free.
    """

    def __init__(self, pictures: ImageFolderDataset, size: int, cached: bool | None = None) -> None:
        self.pictures = pictures
        self.size = size
        self.labels = torch.from_numpy(pictures.labels)
        self.errors: dict[int, str] = {}
        self.held: Tensor | None = None
        if cached is None:
            cached = len(pictures) * size * size * 3 < MEMORY_SHARE * free_memory()
        if cached:
            held = np.zeros((len(pictures), size, size, 3), np.uint8)
            with ThreadPoolExecutor() as pool:
                for place, found in enumerate(pool.map(self._read, range(len(pictures)))):
                    if isinstance(found, str):
                        self.errors[place] = found
                    else:
                        held[place] = found
            self.held = torch.from_numpy(held).permute(0, 3, 1, 2)
        if len(self.errors) == len(pictures):
            raise DatasetError(f"not one picture of {pictures.name} {pictures.split} can be read: {self.errors[0]}")

    def _read(self, place: int) -> np.ndarray | str:
        try:
            return preprocess(self.pictures.read(place), self.size)
        except (ImageError, OSError) as error:
            return str(error)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> ClassificationBatch:
        """The batch of step number `key[0]`, of the pictures at the places `key[1]`."""
        step, places = key
        if self.held is not None:
            good = [place for place in places if place not in self.errors]
            index = torch.tensor(good, dtype=torch.int64)
            errors = [self.errors[place] for place in places if place in self.errors]
            return ClassificationBatch(self.held[index], self.labels[index], index, step, errors)
        images, good, errors = [], [], []
        for place in places:
            found = self._read(place)
            if isinstance(found, str):
                errors.append(found)
            else:
                good.append(place)
                images.append(found)
        stacked = np.stack(images) if images else np.zeros((0, self.size, self.size, 3), np.uint8)
        index = torch.tensor(good, dtype=torch.int64)
        return ClassificationBatch(
            torch.from_numpy(stacked).permute(0, 3, 1, 2), self.labels[index], index, step, errors
        )


def free_memory() -> int:
    """Bytes that the machine could give; where it does not say, 4 GiB."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30
