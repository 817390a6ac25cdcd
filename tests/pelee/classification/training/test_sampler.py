"""Samplers of classification batches."""

from pelee.classification.training.sampler import ClassificationBatchSampler, sequential_batches


def test_resumable_sampler_is_a_permutation_that_continues_after_the_steps_done() -> None:
    done = 0
    order = ClassificationBatchSampler(10, 3, 1, lambda: done)
    first = list(order)
    assert [step for step, _ in first] == [0, 1, 2]
    assert len({place for _, places in first for place in places}) == 9
    done = 3
    second = list(order)
    assert [step for step, _ in second] == [3, 4, 5] and second[0][1] != first[0][1]
    done = 5
    assert list(order) == second[2:]
    halves = [list(ClassificationBatchSampler(10, 4, 1, lambda: 0, rank, 2)) for rank in (0, 1)]
    whole = list(ClassificationBatchSampler(10, 4, 1, lambda: 0))
    for (_, left), (_, right), (_, both) in zip(*halves, whole, strict=True):
        assert sorted(left + right) == sorted(both) and len(left) == len(right)


def test_sequential_batches_share_all_places() -> None:
    assert sequential_batches(5, 2) == [(0, [0, 1]), (0, [2, 3]), (0, [4])]
    places = [place for rank in (0, 1) for _, share in sequential_batches(5, 2, rank, 2) for place in share]
    assert sorted(places) == [0, 1, 2, 3, 4]
