"""Sampler of training batches: order, input size and seeds."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from data.datasets.records import Record
from detection.models.registry import MIN_INPUT_SIZE
from detection.training.settings import TrainSettings

SCALE_STEP = 32  # a multiple of every architecture's `input_multiple`


class SampleRequest(NamedTuple):
    """Request of the sampler to the dataset: index of a record, input size of its batch, and random seed."""

    record: int
    size: int
    seed: tuple[int, int, int]


def repeat_factors(records: Sequence[Record], num_classes: int) -> np.ndarray:
    """(N,) float64, sampling weight of each image relative to one of frequent classes.

    Repeat-factor sampling (Gupta et al., "LVIS", 2019, section 3.3): the weight is max(1, sqrt(t / f(c)))
    of the rarest class c of an image, where f(c) is the fraction of images with that class and t the median of f.
    """
    shares = np.zeros(num_classes)
    for record in records:
        shares[np.unique(record.labels)] += 1 / len(records)
    typical = np.median(shares[shares > 0]) if shares.any() else 1.0
    factors = np.ones(num_classes)
    factors[shares > 0] = np.maximum(1, np.sqrt(typical / shares[shares > 0]))
    return np.array([factors[record.labels].max(initial=1.0) for record in records])


class ResumableBatchSampler(Sampler[list[SampleRequest]]):
    """Batch sampler of the remaining batches of a run, for one process of `world_size`; its length is one epoch's.

    `batch_size` images per step over all processes; an incomplete last batch is dropped, but a dataset smaller than one
    batch is one batch.

    Args:
        steps_done: returns the number of completed training steps; called at the start of an iteration.
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

    @property
    def left_in_epoch(self) -> int:
        """Batches that the current epoch has left."""
        return self.batches_per_epoch - self.steps_done() % self.batches_per_epoch

    def input_size_at(self, progress: float, rng: np.random.Generator) -> int:
        """Input size of a batch at `progress`, 0 to 1, of the schedule."""
        settings = self.settings
        size = settings.size_at(progress)
        if settings.multi_scale:
            reach = int(size * settings.multi_scale) // SCALE_STEP
            size = max(MIN_INPUT_SIZE, size + SCALE_STEP * int(rng.integers(-reach, reach + 1)))
        return size

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        epoch, skip = divmod(self.steps_done(), self.batches_per_epoch)
        while epoch < self.settings.epochs:
            yield from self._epoch(epoch, skip)
            epoch, skip = epoch + 1, 0

    def _epoch(self, epoch: int, skip: int) -> Iterator[list[SampleRequest]]:
        settings = self.settings
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
                SampleRequest(int(index), size, (settings.seed, epoch, number * settings.batch_size + place))
                for place, index in enumerate(batch)
                if place % self.world_size == self.rank
            ]
