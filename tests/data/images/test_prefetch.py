"""Reading ahead keeps the order, bounds what waits, and passes over what cannot be read."""

import time
from collections.abc import Iterator

import pytest

from data.errors import ImageError
from data.images.prefetch import prefetch


def test_results_come_in_the_order_of_the_sources_whatever_took_longer() -> None:
    def read(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number**2

    assert list(prefetch(range(20), read, workers=4, ahead=5)) == [(n, n**2) for n in range(20)]


def test_an_unreadable_one_is_an_item() -> None:
    def read(number: int) -> int:
        if number == 1:
            raise ImageError("1.png: not an image")
        return number

    (first, unread, last) = prefetch(range(3), read)
    assert (first, last) == ((0, 0), (2, 2))
    assert unread[0] == 1 and isinstance(unread[1], ImageError) and str(unread[1]) == "1.png: not an image"


def test_no_more_sources_are_taken_than_asked() -> None:
    taken: list[int] = []

    def sources() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = prefetch(sources(), lambda number: number, workers=2, ahead=6)
    for done in range(3):
        next(results)
        assert len(taken) == 6 + done
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 8


def test_any_other_error_ends_it() -> None:
    def read(number: int) -> int:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        list(prefetch(range(3), read))
