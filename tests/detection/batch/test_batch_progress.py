"""Progress: images, rate and remaining time, by images where their number is known, else by parts."""

import pytest

from detection.batch import batch_progress
from detection.batch.batch_progress import BatchProgress, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(batch_progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("total", "status"), [(900, "300 of 900 images, 60 images/s, 10 s left"), (None, "20 s left")])
def test_the_remaining_time(clock: list[float], total: int | None, status: str) -> None:
    with BatchProgress(5, total) as progress:
        clock[0] += 5
        progress.part(300, 2)
        assert progress.status().endswith(status) and progress.failed == 2


def test_a_log_gets_a_line_a_minute(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with BatchProgress(1000, 1000) as progress:
        for _ in range(13):
            clock[0] += 10
            progress.part(1, 0)
        progress.note("error: [a.tar] is missing")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[0].startswith("6 of 1,000 images, 0 images/s, ") and lines[2].endswith("missing")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3600 * 5 + 720, "5 h 12 min"), (86400 * 3, "3 d 0 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
