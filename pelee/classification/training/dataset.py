"""Batches of a classification dataset, decoded once and cached in memory where they fit."""

import hashlib
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

MEMORY_SHARE = 0.4  # of the free memory that cached images may use


class ClassificationBatch(NamedTuple):
    """A batch of images with their labels.

    Attributes:
        images: (N, 3, S, S) uint8, channels-last in memory.
        labels: (N,) int64.
        places: (N,) int64, indices in the split.
        step: of the run; seeds the augmentation.
        unreadable: one-line errors of the images that were skipped.
    """

    images: Tensor
    labels: Tensor
    places: Tensor
    step: int
    unreadable: list[str]


class ImageBatches(Dataset[ClassificationBatch]):
    """Batches of images, each warped to size×size.

    An image that cannot be read is missing in its batch and listed there.

    Args:
        dataset: the split.
        size: side of the images in pixels.
        cached: hold all images in memory as uint8 (N × size² × 3 bytes); None decides by the free memory.

    Raises:
        DatasetError: none of the images can be read.
    """

    def __init__(self, dataset: ImageFolderDataset, size: int, cached: bool | None = None) -> None:
        self.dataset = dataset
        self.size = size
        self.labels = torch.from_numpy(dataset.labels)
        self.errors: dict[int, str] = {}
        self.cache: Tensor | None = None
        if cached is None:
            cached = len(dataset) * size * size * 3 < MEMORY_SHARE * free_memory()
        if cached:
            cache = np.zeros((len(dataset), size, size, 3), np.uint8)
            with ThreadPoolExecutor() as pool:
                for place, result in enumerate(pool.map(self._read, range(len(dataset)))):
                    if isinstance(result, str):
                        self.errors[place] = result
                    else:
                        cache[place] = result
            self.cache = torch.from_numpy(cache).permute(0, 3, 1, 2)
        if len(self.errors) == len(dataset):
            raise DatasetError(f"not one image of {dataset.name} {dataset.split} can be read: {self.errors[0]}")

    def _read(self, place: int) -> np.ndarray | str:
        try:
            return preprocess(self.dataset.read(place), self.size)
        except (ImageError, OSError) as error:
            return str(error)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> ClassificationBatch:
        """The batch of step `key[0]` with the images at indices `key[1]`."""
        step, places = key
        if self.cache is not None:
            good = [place for place in places if place not in self.errors]
            index = torch.tensor(good, dtype=torch.int64)
            errors = [self.errors[place] for place in places if place in self.errors]
            return ClassificationBatch(self.cache[index], self.labels[index], index, step, errors)
        images, good, errors = [], [], []
        for place in places:
            result = self._read(place)
            if isinstance(result, str):
                errors.append(result)
            else:
                good.append(place)
                images.append(result)
        stacked = np.stack(images) if images else np.zeros((0, self.size, self.size, 3), np.uint8)
        index = torch.tensor(good, dtype=torch.int64)
        return ClassificationBatch(
            torch.from_numpy(stacked).permute(0, 3, 1, 2), self.labels[index], index, step, errors
        )


def fingerprint(dataset: ImageFolderDataset) -> str:
    """SHA-256 of the names, sizes and labels of a split's image files, in their order; not of their folder."""
    digest = hashlib.sha256(dataset.labels.tobytes())
    for file in dataset.files:
        digest.update(f"{file.parent.name}/{file.name} {file.stat().st_size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def free_memory() -> int:
    """Free memory of the machine in bytes; 4 GiB where the system does not report it."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30
