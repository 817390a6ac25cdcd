"""Usable cores: the affinity mask where there is one; work in threads."""

import os
import threading

import pytest

from data.cpu_cores import map_in_threads, usable_cores


def test_usable_cores_are_those_of_the_affinity_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert usable_cores() == 3


def test_usable_cores_without_an_affinity_mask_are_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(map_in_threads(lambda number: number**2, range(20), 4)) == [number**2 for number in range(20)]
    assert list(map_in_threads(str, [], None)) == []


def test_an_error_cancels_what_has_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("item 1")
        if number > 1:
            threading.Event().wait(0.2)  # as long as an image takes; the others are still in the queue
        return number

    results = map_in_threads(work, range(1000), 1)
    assert next(results) == 0
    with pytest.raises(ValueError, match="item 1"):
        next(results)
    assert len(begun) < 100
