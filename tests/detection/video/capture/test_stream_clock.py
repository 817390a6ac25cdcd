"""Clock of a stream: age and pace of its frames."""

import pytest

from detection.video.capture.stream_clock import JUMP, Clock


def test_what_waits_on_its_way_counts_for_its_age() -> None:
    """Frames every 40 ms; the third waits 50 ms, the fourth 1 s; then the camera begins anew."""
    clock = Clock()
    ages = [
        now - clock.captured(stamp, now) for stamp, now in [(7.0, 100.0), (7.04, 100.02), (7.08, 100.11), (7.12, 101.1)]
    ]
    assert ages == pytest.approx([0, 0, 0.05, 1.0], abs=1e-3)
    assert clock.captured(7.2 - 2 * JUMP, 101.2) == 101.2 and clock.captured(None, 101.3) == 101.3
    slow = Clock()
    for minute in range(60):  # a clock 50 ppm too slow: ages do not grow
        assert slow.captured(60 * minute * (1 - 5e-5), 60.0 * minute) == pytest.approx(60 * minute, abs=0.004)


def test_bursts_are_played_at_their_own_pace() -> None:
    clock = Clock()
    assert clock.early(5.0, 50.0) == 0
    assert [clock.early(5.0 + step / 25, 50.0) for step in range(4)] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert clock.early(8.0, 55.0) == 0  # late: a new beginning
    assert clock.early(8.5, 55.0) == pytest.approx(0.5)
