from pathlib import Path

import pytest

from data.errors import ImageError
from detection.watch.event import Event
from detection.watch.replay import EPOCH, replay
from tests.support.rectangle_session import make_detector
from tests.support.watch_scenes import walk, watch_settings


def replayed(path: Path, **changes: object) -> list[Event]:
    return list(replay(path, "yard", watch_settings(**changes), make_detector()))


@pytest.mark.slow
def test_the_events_of_a_walk(tmp_path: Path) -> None:
    film = walk(tmp_path / "walk.mp4", 6.0)
    found = {(event.rule, str(event.kind)): event for event in replayed(film)}
    assert sorted(found) == [
        ("line", "crossed"), ("seen", "appeared"), ("seen", "vanished"),
        ("stay", "stayed"), ("zone", "entered"), ("zone", "left"),
    ]  # fmt: skip
    seconds = {key: (event.start - EPOCH).total_seconds() for key, event in found.items()}
    assert seconds["seen", "appeared"] == pytest.approx(1, abs=0.25)
    assert seconds["zone", "entered"] == pytest.approx(2, abs=0.3)
    assert seconds["line", "crossed"] == pytest.approx(2, abs=0.35)
    assert seconds["seen", "vanished"] == pytest.approx(5, abs=0.25)
    assert found["line", "crossed"].direction == "in" and found["line", "crossed"].zone == "middle"
    assert len({event.id for event in found.values()}) == 6


@pytest.mark.slow
def test_it_gives_the_same_again(tmp_path: Path) -> None:
    film = walk(tmp_path / "walk.mp4")
    assert [event.to_json() for event in replayed(film)] == [event.to_json() for event in replayed(film)]


@pytest.mark.slow
def test_events_are_those_of_every_frame_without_the_gate(tmp_path: Path) -> None:
    film = walk(tmp_path / "walk.mp4")
    with_gate, without = (
        sorted((event.rule, str(event.kind)) for event in replayed(film, motion=motion)) for motion in (True, False)
    )
    assert with_gate == without


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "walk.mp4").write_text("no video")
    with pytest.raises(ImageError, match=r"walk\.mp4"):
        replayed(tmp_path / "walk.mp4")
