"""Stratified split: shares, classes in proportion, groups undivided, seeds."""

from collections import Counter

import numpy as np
import pytest

from data.splitting.stratified_split import stratified_split

SHARES = {"train": 0.8, "val": 0.2}


def test_every_class_is_in_proportion() -> None:
    random = np.random.default_rng(0)
    # a common class, one in ten, one in fifty
    classes = [[0] + [1] * (random.random() < 0.1) + [2] * (random.random() < 0.02) for _ in range(1000)]
    names = stratified_split(classes, range(1000), SHARES)
    assert names.count("val") == pytest.approx(200, abs=2)
    for label in range(3):
        own = [name for name, labels in zip(names, classes, strict=True) if label in labels]
        assert own.count("val") / len(own) == pytest.approx(0.2, abs=0.05)


def test_groups_stay_together() -> None:
    groups = [index // 7 for index in range(210)]
    names = stratified_split([[index % 3] for index in range(210)], groups, SHARES)
    assert len(set(zip(groups, names, strict=True))) == 30
    assert names.count("val") == 42


def test_the_seed_decides() -> None:
    classes = [[index % 2] for index in range(100)]
    first = stratified_split(classes, range(100), SHARES, seed=1)
    assert first == stratified_split(classes, range(100), SHARES, seed=1)
    assert first != stratified_split(classes, range(100), SHARES, seed=2)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_no_split_is_empty(count: int) -> None:
    for shares in (SHARES, {"train": 0.9, "val": 0.1}):
        assert set(stratified_split([[0]] * count, range(count), shares)) == {"train", "val"}
    assert set(stratified_split([[]] * count, range(count), {"train": 0.98, "val": 0.02})) == {"train", "val"}


def test_three_splits_and_images_without_objects() -> None:
    names = Counter(stratified_split([[]] * 100, range(100), {"train": 0.7, "val": 0.2, "test": 0.1}))
    assert names == {"train": 70, "val": 20, "test": 10}
    assert stratified_split([], [], SHARES) == []
