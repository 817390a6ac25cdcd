"""Sampler of training batches: order, resuming, input sizes, class balance."""

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.models.registry import ARCHITECTURES
from detection.training.sampler import ResumableBatchSampler, SampleRequest, repeat_factors
from detection.training.settings import TrainSettings
from tests.support.label_records import records

Batches = list[list[SampleRequest]]


def batches(settings: TrainSettings, pictures: int = 20, step: int = 0, rank: int = 0, world_size: int = 1) -> Batches:
    """What is left at `step` of the epoch that it lies in."""
    return epoch_batches(ResumableBatchSampler(records([[0]] * pictures), 1, settings, lambda: step, rank, world_size))


def epoch_batches(sampler: ResumableBatchSampler) -> Batches:
    return list(itertools.islice(sampler, sampler.left_in_epoch))


def order(found: Batches) -> list[int]:
    return [sample.record for batch in found for sample in batch]


@pytest.mark.slow
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 3), st.integers(0, 5))
def test_an_epoch_shows_every_image_at_most_once_and_leaves_less_than_a_batch(
    pictures: int, batch_size: int, epoch: int, seed: int
) -> None:
    settings = TrainSettings(batch_size=batch_size, epochs=4, seed=seed)
    steps = max(1, pictures // batch_size)
    found = batches(settings, pictures, epoch * steps)
    assert len(found) == steps
    shown = order(found)
    assert len(set(shown)) == len(shown) == min(pictures, steps * batch_size)
    assert set(shown) <= set(range(pictures))


def test_the_seed_and_the_epoch_decide_the_order() -> None:
    settings = TrainSettings(batch_size=5, epochs=9, seed=3)
    first = batches(settings)
    assert first == batches(settings)
    assert order(batches(settings, step=4)) != order(first)
    assert order(batches(TrainSettings(batch_size=5, epochs=9, seed=4))) != order(first)


def test_over_the_epochs_no_image_is_left_out() -> None:
    settings = TrainSettings(batch_size=8, epochs=20)  # 20 images: 4 are left out of every epoch
    shown = {index for epoch in range(20) for index in order(batches(settings, step=2 * epoch))}
    assert shown == set(range(20))


@pytest.mark.parametrize("options", [{}, {"balanced": True}, {"multi_scale": 0.5, "input_size": 320}])
def test_a_run_resumed_at_any_step_gets_exactly_the_rest(options: dict[str, Any]) -> None:
    settings = TrainSettings(batch_size=5, epochs=3, **options)
    whole = [batches(settings, step=4 * epoch) for epoch in range(3)]
    for step in range(12):
        epoch, done = divmod(step, 4)
        assert batches(settings, step=step) == whole[epoch][done:]


def test_it_goes_on_to_the_end_of_the_run() -> None:
    """Over the ends of epochs, so that workers read the next epoch while the present one ends."""
    settings = TrainSettings(batch_size=5, epochs=3)
    sampler = ResumableBatchSampler(records([[0]] * 20), 1, settings, lambda: 6)
    assert sampler.left_in_epoch == 2 and len(sampler) == 4
    assert list(sampler) == [*batches(settings, step=6), *batches(settings, step=8)]


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 6), (3, 6), (4, 4)])
def test_processes_share_each_batch_alike(world_size: int, batch_size: int) -> None:
    settings = TrainSettings(batch_size=batch_size, epochs=2, multi_scale=0.3)
    whole = batches(settings, step=1)
    shares = [batches(settings, step=1, rank=rank, world_size=world_size) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert {len(part) for part in parts} == {batch_size // world_size}
        assert sorted(itertools.chain(*parts)) == sorted(batch)  # with their sizes and seeds


def test_no_two_images_share_their_random_numbers() -> None:
    settings = TrainSettings(batch_size=4, epochs=5)
    seeds = [s.seed for epoch in range(5) for batch in batches(settings, step=5 * epoch) for s in batch]
    assert len(set(seeds)) == len(seeds) == 100


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    (only,) = batches(TrainSettings(batch_size=32), pictures=3)
    assert sorted(sample.record for sample in only) == [0, 1, 2]


def test_the_input_grows_by_the_phases_of_the_schedule() -> None:
    settings = TrainSettings(batch_size=5, epochs=5, input_size=304, size_phases=((96, 0.25), (208, 0.5)))
    sizes = [{s.size for s in batch} for epoch in range(5) for batch in batches(settings, step=4 * epoch)]
    assert sizes == [{96}] * 5 + [{208}] * 5 + [{304}] * 10  # shares of 20 steps: below 5, below 10, the rest


def test_the_phases_are_shares_of_what_max_steps_leaves() -> None:
    settings = TrainSettings(batch_size=5, epochs=5, max_steps=8, size_phases=((96, 0.5),))
    assert settings.total_steps(20) == 8
    sizes = [batch[0].size for epoch in range(2) for batch in batches(settings, step=4 * epoch)]
    assert sizes == [96] * 4 + [304] * 4


@pytest.mark.slow
@given(st.integers(4, 40).map(lambda value: 16 * value), st.floats(0, 1))
def test_multi_scale_draws_legal_sizes_within_its_share(size: int, share: float) -> None:
    sampler = ResumableBatchSampler(records([[0]]), 1, TrainSettings(input_size=size, multi_scale=share), lambda: 0)
    rng = np.random.default_rng(0)
    for drawn in {sampler.input_size_at(0.5, rng) for _ in range(40)}:
        assert ARCHITECTURES["pelee"].check_input_size(drawn) == drawn
        assert abs(drawn - size) <= share * size
        assert (drawn - size) % 32 == 0 or drawn == 64


def test_multi_scale_draws_all_of_its_sizes_one_a_batch() -> None:
    settings = TrainSettings(batch_size=2, epochs=10, input_size=320, multi_scale=0.2)
    sizes = [{s.size for s in batch} for epoch in range(10) for batch in batches(settings, step=10 * epoch)]
    assert all(len(own) == 1 for own in sizes)
    assert set.union(*sizes) == {256, 288, 320, 352, 384}


def test_repeat_factors_by_hand() -> None:
    # shares of images: class 0 in 8 of 10, class 1 in 2, class 2 in 1, class 3 in none; the median of these is 0.2
    pictures = records([[0]] * 7 + [[0, 1], [1], [2, 2]])
    expected = [1] * 9 + [2**0.5]  # class 2: sqrt(0.2 / 0.1)
    assert repeat_factors(pictures, 4) == pytest.approx(expected)
    assert repeat_factors(records([[], []]), 2) == pytest.approx([1, 1])


@pytest.mark.slow
def test_balanced_draws_rare_classes_more_often() -> None:
    labels = [[0]] * 60 + [[1]] * 38 + [[2]] * 2
    settings = TrainSettings(batch_size=10, epochs=100, balanced=True)
    # the median share is 0.38: images of class 2 count sqrt(0.38 / 0.02) = 4.4 times as much as the others
    drawn = np.zeros(3)
    for epoch in range(100):
        step = 10 * epoch
        for index in order(epoch_batches(ResumableBatchSampler(records(labels), 3, settings, partial(int, step)))):
            drawn[labels[index][0]] += 1
    assert drawn.sum() == 10_000
    rare = 2 * 4.359 / (98 + 2 * 4.359)
    assert drawn[2] / 10_000 == pytest.approx(rare, rel=0.15)  # 816 expected, a deviation of 27
    assert drawn[0] / drawn[1] == pytest.approx(60 / 38, rel=0.1)
