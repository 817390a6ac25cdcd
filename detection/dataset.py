"""Training pictures in batches: which picture comes when, at which size, and with which random numbers.

Everything is a function of the seed, the epoch and the place in it, so that a run that was killed and resumed sees
what an uninterrupted one would have seen, and so that N processes share one order.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from data.augmentation.mixup_copy_paste import mix, paste
from data.augmentation.mosaic import Mosaic
from data.augmentation.ssd import SSDAugmentation
from data.datasets.records import Record
from data.images.image_io import read_image
from data.images.preprocess import preprocess
from detection.loss import Target
from detection.network import SMALLEST_INPUT
from detection.settings import TrainSettings

SCALE_STEP = 32  # a multiple of every network's `input_multiple`


class Sample(NamedTuple):
    """What the sampler asks the data set for: a record, the input size of its batch, and its own random seed."""

    picture: int
    size: int
    seed: tuple[int, int, int]


class Batch(NamedTuple):
    """images (N, 3, S, S) uint8, channels-last in memory; one `Target` a picture."""

    images: Tensor
    targets: list[Target]


class TrainPictures(TorchDataset[tuple[np.ndarray, np.ndarray, np.ndarray]]):
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


def repeat_factors(records: Sequence[Record], num_classes: int) -> np.ndarray:
    """(N,) float64, how often to draw each picture relative to a common one.

    Repeat-factor sampling (Gupta et al., "LVIS", 2019, section 3.3): a picture counts by its rarest class c, as
    max(1, sqrt(t / f(c))), f(c) being the share of pictures with that class and t the median of these shares.
    """
    shares = np.zeros(num_classes)
    for record in records:
        shares[np.unique(record.labels)] += 1 / len(records)
    typical = np.median(shares[shares > 0]) if shares.any() else 1.0
    factors = np.ones(num_classes)
    factors[shares > 0] = np.maximum(1, np.sqrt(typical / shares[shares > 0]))
    return np.array([factors[record.labels].max(initial=1.0) for record in records])


class TrainBatches(Sampler[list[Sample]]):
    """The batches that are left of the current epoch, for one process of `world_size`.

    `batch_size` pictures a step over all processes; what does not fill a batch is left for another epoch's order,
    but a set smaller than one batch is one batch.

    Args:
        steps_done: gives the number of steps that the run has behind it, at the start of an iteration.
    """

    def __init__(
        self,
        records: Sequence[Record],
        num_classes: int,
        settings: TrainSettings,
        steps_done: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count = len(records)
        self.settings = settings
        self.rank, self.world_size = rank, world_size
        factors = repeat_factors(records, num_classes) if settings.balanced else np.ones(len(records))
        self.probabilities = factors / factors.sum()
        self.steps_done = steps_done

    @property
    def batches_per_epoch(self) -> int:
        return self.settings.steps_per_epoch(self.count)

    def __len__(self) -> int:
        return self.batches_per_epoch

    def input_size_at(self, progress: float, rng: np.random.Generator) -> int:
        """The input size of a batch at `progress`, 0 to 1, of the schedule."""
        settings = self.settings
        size = settings.size_at(progress)
        if settings.multi_scale:
            reach = int(size * settings.multi_scale) // SCALE_STEP
            size = max(SMALLEST_INPUT, size + SCALE_STEP * int(rng.integers(-reach, reach + 1)))
        return size

    def __iter__(self) -> Iterator[list[Sample]]:
        settings = self.settings
        epoch, skip = divmod(self.steps_done(), self.batches_per_epoch)
        rng = np.random.default_rng((settings.seed, epoch))
        if settings.balanced:
            order = rng.choice(self.count, self.count, p=self.probabilities)
        else:
            order = rng.permutation(self.count)
        total = settings.total_steps(self.count)
        for number in range(self.batches_per_epoch):
            step = epoch * self.batches_per_epoch + number
            size = self.input_size_at(step / total, rng)
            if number < skip:
                continue
            batch = order[number * settings.batch_size : (number + 1) * settings.batch_size]
            yield [
                Sample(int(index), size, (settings.seed, epoch, number * settings.batch_size + place))
                for place, index in enumerate(batch)
                if place % self.world_size == self.rank
            ]


class EvaluationPictures(TorchDataset[tuple[int, np.ndarray, int, int]]):
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
