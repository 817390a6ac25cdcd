"""Datasets of augmented training images and of preprocessed evaluation images.

Augmentation is a function of the seed, the epoch and the position in it, so that a resumed run sees the same data as an
uninterrupted one, and N processes share one order.
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
from detection.training.sampler import SampleRequest
from detection.training.settings import TrainSettings
from detection.training.targets import Target


class DetectionBatch(NamedTuple):
    """images (N, 3, S, S) uint8, channels-last in memory; one `Target` per image."""

    images: Tensor
    targets: list[Target]


class TrainDataset(TorchDataset[tuple[np.ndarray, np.ndarray, np.ndarray]]):
    """Augmented training images. Crowd objects are left out; difficult ones are included, as in the paper."""

    def __init__(self, records: Sequence[Record], settings: TrainSettings) -> None:
        self.records = records
        self.mosaic, self.mixup, self.copy_paste = settings.mosaic, settings.mixup, settings.copy_paste
        self.augment = SSDAugmentation(settings.input_size)
        self.join = Mosaic(settings.input_size)

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (H, W, 3), boxes (n, 4) in pixels and labels (n,) of a record."""
        record = self.records[index]
        keep = ~record.crowd
        return read_image(record.image), record.boxes[keep], record.labels[keep]

    def __getitem__(self, sample: SampleRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(sample.seed)
        self.augment.size = self.join.size = sample.size
        result = self.augmented(sample.record, rng)
        if self.copy_paste and rng.random() < self.copy_paste:
            result = paste(result, self.augmented(int(rng.integers(len(self.records))), rng), rng)
        if self.mixup and rng.random() < self.mixup:
            result = mix(result, self.augmented(int(rng.integers(len(self.records))), rng), rng)
        return result

    def augmented(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Augmented image, alone or in a mosaic with three others."""
        if self.mosaic and rng.random() < self.mosaic:
            others = rng.integers(len(self.records), size=3)
            return self.join([self.read(i) for i in (index, *map(int, others))], rng)
        return self.augment(*self.read(index), rng)


def collate(samples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> DetectionBatch:
    """Stack augmented images: each (S, S, 3) uint8, (n, 4) relative boxes and (n,) labels."""
    images = torch.from_numpy(np.stack([image for image, _, _ in samples])).permute(0, 3, 1, 2)
    return DetectionBatch(
        images, [Target(torch.from_numpy(boxes), torch.from_numpy(labels)) for _, boxes, labels in samples]
    )


class EvaluationDataset(TorchDataset[tuple[int, np.ndarray, int, int]]):
    """Preprocessed images of a split, or of the part of one process: (record index, (S, S, 3), width, height)."""

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
