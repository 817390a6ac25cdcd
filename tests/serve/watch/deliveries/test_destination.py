import pytest

from serve.watch.deliveries.destination import RetryPace


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(1, 0.5, 1.0), (2, 1.0, 2.0), (5, 8.0, 16.0), (9, 128.0, 256.0), (5000, 150.0, 300.0)],
)
def test_waits_double_up_to_the_longest_and_half_of_each_is_random(failures: int, least: float, most: float) -> None:
    pace = RetryPace()
    assert (pace.wait(failures, 0.0), pace.wait(failures, 1.0)) == (least, most)
    waits = {pace.wait(failures) for _ in range(50)}
    assert len(waits) > 1 and all(least <= wait <= most for wait in waits)
