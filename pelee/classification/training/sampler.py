"""Samplers of classification batches."""

from collections.abc import Callable, Iterator

import numpy as np


class ResumableBatchSampler:
    """The batches that are left of the current epoch: (step, places) pairs, a function of the seed and the steps done.

    Args:
        steps_done: gives the number of steps that the run has behind it, at the start of an iteration; they are passed
            over, so that a resumed run sees what it had yet to see.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        steps_done: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count, self.batch_size, self.seed = count, min(batch_size, count), seed
        self.steps_done = steps_done
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        epoch, skip = divmod(self.steps_done(), len(self))
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        for number in range(skip, len(self)):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield epoch * len(self) + number, batch[self.rank :: self.world_size].tolist()


def sequential_batches(count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> list[tuple[int, list[int]]]:
    """All places in order, in batches: what an evaluation goes through."""
    share = range(rank, count, world_size)
    return [(0, list(share[start : start + batch_size])) for start in range(0, len(share), batch_size)]
