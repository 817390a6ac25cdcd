"""Stages that overlap: order, bounds, errors, and that nothing is left behind."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from detection.pipeline.stages import Done, Stages


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def late_first(pool: ThreadPoolExecutor, number: int) -> "Future[int]":
    """Work that ends the later, the earlier it stands among three."""
    return pool.submit(lambda: (time.sleep(0.003 * (2 - number % 3)), number * number)[1])


def test_results_come_in_the_order_of_the_items() -> None:
    with Stages() as stages:
        pool = stages.pool(3, "square")
        assert list(stages.ahead(range(30), lambda n: late_first(pool, n), 3, "numbers")) == [n * n for n in range(30)]


def test_nothing_in_nothing_out() -> None:
    with Stages() as stages:
        assert list(stages.ahead([], Done, 2, "none")) == []


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_no_more_than_its_depth_is_between_source_and_consumer(depth: int) -> None:
    """An endless source and a slow consumer: the source is asked for as much as there is room for, and no more."""
    given: list[int] = []
    source = (given.append(number) or number for number in itertools.count(1))
    with Stages() as stages:
        numbers = stages.ahead(source, Done, depth, "numbers")
        for taken in range(1, 20):
            assert next(numbers) == taken
            time.sleep(0.005)
            assert len(given) <= taken + depth
        assert len(given) == taken + depth  # and it does run ahead


def test_a_stage_works_while_its_consumer_does() -> None:
    """Each waits for the other: one after the other they would wait for ever."""
    meeting = threading.Barrier(2, timeout=20)

    def meet(number: int) -> Done[int]:
        meeting.wait()
        return Done(number)

    with Stages() as stages:
        numbers = stages.ahead(range(5), meet, 2, "numbers")
        for number in range(5):
            meeting.wait()
            assert next(numbers) == number


def test_a_chain_keeps_order_and_bounds() -> None:
    started = []
    with Stages() as stages:
        pool = stages.pool(2, "square")
        squares = stages.ahead(itertools.count(), lambda n: started.append(n) or late_first(pool, n), 2, "squares")
        halves = stages.ahead(squares, lambda n: Done(n / 2), 2, "halves")
        for number in range(10):
            assert next(halves) == number * number / 2
            time.sleep(0.005)
            assert len(started) <= number + 1 + 2 + 2 + 1  # what each stage holds, and the one between their hands


def failing_source() -> Iterator[int]:
    yield from (0, 1, 2)
    raise ValueError("source")


def fail(number: int, place: str) -> int:
    if number == 3:
        raise ValueError(place)
    return number


@pytest.mark.parametrize("place", ["source", "start", "work"])
@pytest.mark.parametrize("chained", [False, True])
def test_an_error_comes_at_its_place_in_the_order(place: str, chained: bool) -> None:
    taken = []
    with pytest.raises(ValueError, match=place), Stages() as stages:
        pool = stages.pool(2, "work")
        source = failing_source() if place == "source" else itertools.count()
        numbers = stages.ahead(
            source,
            lambda n: pool.submit(fail, n, place) if place == "work" else Done(fail(n, place)),
            2,
            "numbers",
        )
        for number in stages.ahead(numbers, Done, 2, "more") if chained else numbers:
            taken.append(number)
    assert taken == [0, 1, 2]


def test_an_error_of_a_later_stage_ends_the_earlier_ones() -> None:
    with pytest.raises(ZeroDivisionError), Stages() as stages:
        numbers = stages.ahead(itertools.count(-3), Done, 2, "numbers")
        list(stages.ahead(numbers, lambda n: Done(1 / n), 2, "inverse"))


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_who_leaves_early_leaves_no_thread_and_a_closed_source(error: type[BaseException]) -> None:
    closed_in = []

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed_in.append(threading.current_thread().name)

    with pytest.raises(error), Stages() as stages:
        pool = stages.pool(2, "wait")
        numbers = stages.ahead(source(), lambda n: pool.submit(lambda: (time.sleep(0.01), n)[1]), 8, "numbers")
        for number in stages.ahead(numbers, Done, 8, "more"):
            if number == 3:
                raise error
    assert closed_in == ["numbers"]


def test_work_that_has_not_begun_is_not_begun_after_the_end() -> None:
    begun = []
    with Stages() as stages:
        pool = stages.pool(1, "slow")
        numbers = stages.ahead(
            itertools.count(), lambda n: pool.submit(lambda: begun.append(n) or time.sleep(0.05)), 50, "numbers"
        )
        next(numbers)
    count = len(begun)
    assert count <= 3
    time.sleep(0.1)
    assert len(begun) == count
