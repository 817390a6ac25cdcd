"""Training pictures in batches: which picture comes when, at which size, and with which random numbers.

Everything is a function of the seed, the epoch and the place in it, so that a run that was killed and resumed sees
what an uninterrupted one would have seen, and so that N processes share one order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from data.augmentation.mixup_copy_paste import mix, paste
from data.augmentation.mosaic import Mosaic
from data.augmentation.ssd import SSDAugmentation
from data.datasets.records import Record
from data.images.image_io import read_image
from data.images.preprocess import preprocess
from detection.training.sampler import Sample
from detection.training.settings import TrainSettings
from detection.training.targets import Target


class Batch(NamedTuple):
    """images (N, 3, S, S) uint8, channels-last in memory; one `Target` a picture."""

    images: Tensor
    targets: list[Target]


class TrainDataset(TorchDataset[tuple[np.ndarray, np.ndarray, np.ndarray]]):
    """Augmented training pictures. Objects of a crowd are not trained on; difficult ones are, as the paper does."""

    def __init__(self, records: Sequence[Record], settings: TrainSettings) -> None:
        self.records = records
        self.mosaic, self.mixup, self.copy_paste = settings.mosaic, settings.mixup, settings.copy_paste
        self.augment = SSDAugmentation(settings.input_size)
        self.join = Mosaic(settings.input_size)

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The picture (H, W, 3), its boxes (n, 4) in pixels and labels (n,)."""
        record = self.records[index]
        keep = ~record.crowd
        return read_image(record.image), record.boxes[keep], record.labels[keep]

    def __getitem__(self, sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(sample.seed)
        self.augment.size = self.join.size = sample.size
        picture = self.augmented(sample.picture, rng)
        if self.copy_paste and rng.random() < self.copy_paste:
            picture = paste(picture, self.augmented(int(rng.integers(len(self.records))), rng), rng)
        if self.mixup and rng.random() < self.mixup:
            picture = mix(picture, self.augmented(int(rng.integers(len(self.records))), rng), rng)
        return picture

    def augmented(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A picture by itself, or in a mosaic with three others."""
        if self.mosaic and rng.random() < self.mosaic:
            others = rng.integers(len(self.records), size=3)
            return self.join([self.read(i) for i in (index, *map(int, others))], rng)
        return self.augment(*self.read(index), rng)


def collate(samples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Batch:
    """Stack augmented pictures: each (S, S, 3) uint8, (n, 4) relative boxes and (n,) labels."""
    images = torch.from_numpy(np.stack([image for image, _, _ in samples])).permute(0, 3, 1, 2)
    return Batch(images, [Target(torch.from_numpy(boxes), torch.from_numpy(labels)) for _, boxes, labels in samples])


class EvaluationDataset(TorchDataset[tuple[int, np.ndarray, int, int]]):
    """Preprocessed pictures of a split, or of one process's share of it: (record index, (S, S, 3), width, height)."""

    def __init__(self, records: Sequence[Record], size: int, rank: int = 0, world_size: int = 1) -> None:
        self.records = records
        self.size = size
        self.indices = range(rank, len(records), world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, np.ndarray, int, int]:
        index = self.indices[place]
        image = read_image(self.records[index].image)
        return index, preprocess(image, self.size), image.shape[1], image.shape[0]
