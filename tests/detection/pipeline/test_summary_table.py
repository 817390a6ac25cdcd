"""Summary table: rows, totals, live statistics, tracks."""

from collections import Counter
from pathlib import Path

import pytest

from detection.inference.stage_timer import StageTimer
from detection.pipeline.frame_result import Summary
from detection.pipeline.inputs import InputSource
from detection.pipeline.summary_table import ROWS, print_report
from detection.video.stream_stats import StreamStats


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def summary(source: str, given: str, frames: int = 1, **counts: int) -> Summary:
    return Summary(InputSource(source, False, given, Path(source)), frames, Counter(counts))


def timer() -> StageTimer:
    timer = StageTimer()
    timer.add("network", 0.0125)
    return timer


def test_rows_totals_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(
        [summary("a.jpg", "a.jpg", dog=1, cat=3), summary("[b].jpg", "[b].jpg")], timer(), 0.5, "openvino", False
    )
    out, err = capsys.readouterr()
    assert err == "" and "3 cat, 1 dog" in out and "[b].jpg" in out and "nothing" in out and "in all" in out
    assert "2 images in 0.50 s: 4.0 images/s on openvino" in out and "network 12.5" in out


def test_many_images_are_grouped_by_argument(capsys: pytest.CaptureFixture[str]) -> None:
    print_report([summary(f"photos/{i}.jpg", "photos", dog=2) for i in range(ROWS + 1)], timer(), 1.0, "torch", True)
    out, err = capsys.readouterr()
    assert out == "" and "photos/7.jpg" not in err and f"{2 * (ROWS + 1)} dog" in err and "in all" not in err


def test_live_statistics_and_tracks(capsys: pytest.CaptureFixture[str]) -> None:
    live = summary("cam0", "cam0")
    live.stream_stats = StreamStats()
    live.stream_stats.dropped, live.stream_stats.damaged = 7, 5
    live.tracks = {"objects": {"car": 2}}
    print_report([live], timer(), 1.0, "torch", False)
    out = capsys.readouterr().out
    assert "tiles a frame" not in out
    assert (
        "cam0: received 0 frames" in out
        and "dropped 7; damaged 5" in out
        and 'cam0: tracks {"objects": {"car": 2}}' in out
    )


def test_a_source_without_time_for_tiles_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    live = summary("cam0", "cam0")
    live.stream_stats = StreamStats()
    live.stream_stats.add_tiles(0)
    print_report([live], timer(), 1.0, "torch", False)
    assert "; 0.0 tiles a frame; dropped 0" in capsys.readouterr().out
