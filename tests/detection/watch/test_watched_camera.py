import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from detection.watch.watched_camera import WatchedCamera, utc_of
from tests.support.rectangle_session import make_detector
from tests.support.watch_scenes import walk, watch_settings

PATIENCE = 30.0


def test_times_follow_the_clock_of_the_day() -> None:
    assert abs((datetime.now(UTC) - utc_of(time.monotonic() - 5)).total_seconds() - 5) < 0.5


@pytest.mark.slow
def test_a_recording_gives_frames_at_the_rate_and_packets(tmp_path: Path) -> None:
    settings = watch_settings(str(walk(tmp_path / "walk.mp4", 2.0)), rate=5.0)
    camera = WatchedCamera("yard", settings, make_detector(), "run", lambda: None)
    try:
        assert camera.status()["state"] in ("connecting", "live")
        times, deadline = [], time.monotonic() + PATIENCE
        while not camera.ended and time.monotonic() < deadline:
            assert camera.poll() == []
            if (picked := camera.pick()) is not None:
                times.append(picked.time)
                assert picked.size == (256, 128) and (picked.image is None or picked.image.shape == (128, 256, 3))
            time.sleep(0.005)
        assert 1 <= len(times) <= 12 and times == sorted(times)
        assert camera.status()["state"] == "ended" and camera.status()["frames"] == len(times)
        packets = camera.ring.since(0)
        assert len(packets) == 40 and packets[0].key
    finally:
        camera.close()
