"""Datasets of augmented training images, with their loader, and of preprocessed evaluation images.

Augmentation is a function of the seed, the epoch and the position in it, so that a resumed run sees the same data as an
uninterrupted one, and N processes share one order.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from data.augmentation.mixup_copy_paste import mix, paste
from data.augmentation.mosaic import Mosaic
from data.augmentation.ssd import SSDAugmentation
from data.datasets.records import Dataset, Record
from data.errors import ImageError
from data.images.image_io import read_image
from data.images.image_slice import stored_length
from data.images.preprocess import preprocess
from detection.training.sampler import ResumableBatchSampler, SampleRequest
from detection.training.settings import TrainSettings
from detection.training.targets import Target
from pelee.training.workers import start_worker

BACKGROUND_TRIALS = 20  # images that are searched for a crop without objects


class DetectionBatch(NamedTuple):
    """Training images and their ground truths, in few tensors, because each is sent between processes by itself.

    Attributes:
        images: (N, 3, S, S) uint8, channels-last in memory.
        boxes: (T, 4) xyxy relative, of all images in order.
        labels: (T,) int64.
        counts: number of ground truths of each image.
        unreadable: errors of images in whose place others are in the batch.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    counts: list[int]
    unreadable: list[str]

    @property
    def targets(self) -> list[Target]:
        """The ground truths of each image."""
        return [Target(*one) for one in zip(self.boxes.split(self.counts), self.labels.split(self.counts), strict=True)]


class Sample(NamedTuple):
    """A sample: image (S, S, 3) uint8, relative boxes (n, 4), labels (n,), and the errors of unreadable images."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    errors: list[str]


class TrainDataset(TorchDataset[Sample]):
    """Augmented training images. Crowd objects are left out; difficult ones are included, as in the paper."""

    def __init__(self, records: Sequence[Record], settings: TrainSettings) -> None:
        self.records = records
        self.mosaic, self.mixup, self.copy_paste = settings.mosaic, settings.mixup, settings.copy_paste
        self.backgrounds = settings.backgrounds
        self.augment = SSDAugmentation(settings.input_size)
        self.join = Mosaic(settings.input_size)
        self.errors: list[str] = []  # of the images of the current sample

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int, *, crowds: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (H, W, 3), boxes (n, 4) in pixels and labels (n,) of a record; crowd objects only on request.

        In place of an image that cannot be read, the next one is taken. ImageError if none can be read.
        """
        for place in range(index, index + len(self.records)):
            record = self.records[place % len(self.records)]
            keep = ~record.crowd | crowds
            try:
                return read_image(record.image), record.boxes[keep], record.labels[keep]
            except ImageError as error:
                self.errors.append(str(error))
        raise ImageError(f"no training image can be read; the last is {self.errors[-1]}")

    def __getitem__(self, sample: SampleRequest) -> Sample:
        self.errors = []
        image, boxes, labels = self.sample(sample)
        return Sample(image, boxes, labels, self.errors)

    def sample(self, sample: SampleRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, boxes and labels of a sample."""
        rng = np.random.default_rng(sample.seed)
        self.augment.size = self.join.size = sample.size
        if self.backgrounds and rng.random() < self.backgrounds:
            background = self.background(sample.record, rng)
            if background is not None:
                return background, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        result = self.augmented(sample.record, rng)
        if self.copy_paste and rng.random() < self.copy_paste:
            result = paste(result, self.augmented(int(rng.integers(len(self.records))), rng), rng)
        if self.mixup and rng.random() < self.mixup:
            result = mix(result, self.augmented(int(rng.integers(len(self.records))), rng), rng)
        return result

    def background(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """Crop without any object, of the record or of the first other one that has room for it; None without any."""
        for place in (index, *rng.integers(len(self.records), size=BACKGROUND_TRIALS - 1).tolist()):
            image, boxes, _ = self.read(place, crowds=True)
            background = self.augment.background(image, boxes, rng)
            if background is not None:
                return background
        return None

    def augmented(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Augmented image, alone or in a mosaic with three others."""
        if self.mosaic and rng.random() < self.mosaic:
            others = rng.integers(len(self.records), size=3)
            return self.join([self.read(i) for i in (index, *map(int, others))], rng)
        return self.augment(*self.read(index), rng)


def collate(samples: Sequence[Sample]) -> DetectionBatch:
    """Stack augmented images."""
    images, boxes, labels, errors = zip(*samples, strict=True)
    return DetectionBatch(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(np.concatenate(boxes)),
        torch.from_numpy(np.concatenate(labels)),
        [len(one) for one in labels],
        [text for one in errors for text in one],
    )


class EpochLoader:
    """Yields the batches that the current epoch has left, from worker processes that live as long as the run.

    A loader that is started anew at each epoch lets a GPU wait there until a worker has read its first batch.

    Args:
        dataset: the training images.
        batches: the batches of the run.
        workers: number of processes; 0 reads in this process.
        pin_memory: copy batches to page-locked memory, for a GPU.
    """

    def __init__(self, dataset: TrainDataset, batches: ResumableBatchSampler, workers: int, pin_memory: bool) -> None:
        self._sampler = batches
        self._loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=start_worker,
        )
        self._running: Iterator[DetectionBatch] | None = None

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[DetectionBatch]:
        if self._running is None:
            self._running = iter(self._loader)
        for _ in range(self._sampler.left_in_epoch):
            yield next(self._running)

    def close(self) -> None:
        """End the worker processes."""
        self._running = None


class EvaluationSample(NamedTuple):
    """Preprocessed image (S, S, 3) of a record, its width and height in pixels; `error` where it cannot be read."""

    record: int
    image: np.ndarray
    width: int
    height: int
    error: str = ""


class EvaluationDataset(TorchDataset[EvaluationSample]):
    """Preprocessed images of a split, or of the part of one process. An image that cannot be read is black."""

    def __init__(self, records: Sequence[Record], size: int, rank: int = 0, world_size: int = 1) -> None:
        self.records = records
        self.size = size
        self.indices = range(rank, len(records), world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> EvaluationSample:
        index = self.indices[place]
        try:
            image = read_image(self.records[index].image)
        except ImageError as error:
            return EvaluationSample(index, np.zeros((self.size, self.size, 3), np.uint8), 1, 1, str(error))
        return EvaluationSample(index, preprocess(image, self.size), image.shape[1], image.shape[0])


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of a split's annotations and of the sizes of its image files, in their order; not of their folder."""
    digest = hashlib.sha256()
    for record in dataset.records:
        digest.update(f"{record.image_id} {stored_length(record.image)}\n".encode())
        for values in (record.boxes, record.labels, record.difficult, record.crowd):
            digest.update(values.tobytes())
    return digest.hexdigest()
