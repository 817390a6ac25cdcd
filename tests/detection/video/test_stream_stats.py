"""Statistics of a stream: rates and percentiles of latency."""

import numpy as np
import pytest

from detection.video.stream_stats import Rate, StreamStats


def test_rates_are_those_of_late_and_in_all() -> None:
    rate = Rate()
    assert rate.recent(0.0) == rate.overall() == 0
    for index in range(101):  # 10 s at 10 a second
        rate.add(50 + index / 10)
    assert rate.overall() == pytest.approx(10) and rate.recent(60.0) == pytest.approx(10, abs=0.6)
    assert rate.recent(61.0) == pytest.approx(5, abs=0.6) and rate.recent(70) == 0


def test_percentiles_of_ages_are_numpys_to_a_millisecond() -> None:
    figures = StreamStats()
    assert figures.age(50) == 0
    ages = np.random.default_rng(1).gamma(3, 0.02, 3000)
    for age in ages:
        figures.shown(float(age))
    for percent in (1, 50, 99, 100):
        assert figures.age(percent) == pytest.approx(
            1000 * np.percentile(ages, percent, method="inverted_cdf"), abs=0.51
        )
    figures.shown(1e9)
    assert figures.age(100) == 20_000


def test_tiles_per_frame_are_in_the_line_where_there_are_any() -> None:
    stats = StreamStats()
    assert "tiles" not in stats.line() and not stats.tiled
    for count in (3, 4, 8):
        stats.add_tiles(count)
    assert stats.tiles == 15 and "tiles 5.0 a frame" in stats.line()
