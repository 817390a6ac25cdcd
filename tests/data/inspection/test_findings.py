"""Kinds of findings, and work in threads."""

import threading

import pytest

from data.inspection.findings import FINDING_KINDS, NOTES, map_in_threads


def test_notes_are_kinds() -> None:
    assert set(FINDING_KINDS) > NOTES


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
