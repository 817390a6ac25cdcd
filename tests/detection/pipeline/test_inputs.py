"""Inputs of a command line: kinds, targets, numbers."""

from pathlib import Path

import pytest
from PIL import Image

from data.errors import SettingsError
from detection.pipeline.inputs import check_targets, collect
from tests.support.rectangle_session import clip, picture


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    for name in ("photos/a.jpg", "photos/sub/a.png"):
        Image.fromarray(picture(32, 32, (4, 4, 20, 20))).save(name)
    return tmp_path


def targets(*inputs: str, videos: tuple[str, ...] = ()) -> list[str]:
    return [str(item.target) for item in collect(inputs, videos, None)[0]]


def test_kinds() -> None:
    clip(Path("clip.avi"), frames=1)
    items, problems = collect(["photos/a.jpg", "clip.avi", "-"], ["cam0", "rtsp://me:secret@host/1"], None)
    assert problems == []
    assert [(item.video, item.live, item.moving) for item in items] == [
        (False, False, False),
        (True, False, True),
        (True, False, False),
        (True, True, True),
        (True, True, True),
    ]
    assert items[-1].name == "rtsp://host/1"


def test_targets_keep_subfolders_and_are_unique_without_case() -> None:
    Image.fromarray(picture(32, 32, (4, 4, 20, 20))).save("A.png")
    assert targets("photos", "A.png", "photos/sub/a.png") == ["a.jpg", "sub/a.jpg", "A-2.jpg"]
    assert targets(videos=("cam0", "test:64x48@20")) == ["cam0.mp4", "test-64x48-20.mp4"]


def test_an_argument_without_inputs_is_a_problem_and_not_an_error() -> None:
    items, problems = collect(["gone.jpg", "photos/a.jpg", "*.bmp", "cam0"], [], None)
    assert [item.source for item in items] == ["photos/a.jpg"]
    assert len(problems) == 3 and "after --video" in problems[2]


def test_an_output_that_is_an_input_is_refused() -> None:
    items = collect(["photos"], [], Path("photos"))[0]
    with pytest.raises(SettingsError, match=r"would overwrite photos/a\.jpg"):
        check_targets(items, Path("photos"))
    with pytest.raises(SettingsError, match="is a file"):
        check_targets(items, Path("photos/a.jpg"))
    check_targets(items, Path("out"))
