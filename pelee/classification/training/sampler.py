"""Samplers of classification batches."""

from collections.abc import Callable, Iterator

import numpy as np


class ClassificationBatchSampler:
    """Seeded sampler of the remaining batches of the current epoch: (step, places) pairs.

    The order depends only on the seed and the number of steps done, so that a resumed run continues where it stopped.

    Args:
        count: images of the split.
        steps_done: returns the steps that the run has done; called at the start of an iteration, which skips them.
        rank, world_size: of this process; each process gets an equal share of every batch.
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
    """All places in order, in batches of step 0, for evaluation; each process gets every `world_size`-th place."""
    share = range(rank, count, world_size)
    return [(0, list(share[start : start + batch_size])) for start in range(0, len(share), batch_size)]
