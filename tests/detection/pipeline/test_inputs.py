"""Inputs of a command line: kinds, targets, numbers."""

import os
from pathlib import Path

import pytest
from PIL import Image

from data.errors import SettingsError
from detection.pipeline import inputs
from detection.pipeline.inputs import InputSource, check_targets, collect, identities
from tests.support.rectangle_session import clip, picture


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    for name in ("photos/a.jpg", "photos/sub/a.png"):
        Image.fromarray(picture(32, 32, (4, 4, 20, 20))).save(name)
    return tmp_path


def targets(*given: str, videos: tuple[str, ...] = ()) -> list[str]:
    return [str(item.target) for item in collect(given, videos, None)[0]]


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


def test_a_path_that_cannot_be_looked_at_does_not_stop_the_others() -> None:
    items, problems = collect(["x" * 300 + ".jpg", "photos/a.jpg"], ["y" * 5000], None)
    assert [item.source for item in items] == ["photos/a.jpg"]
    assert [line[:3] for line in problems] == ["xxx", "yyy"] and all("\n" not in line for line in problems)


def test_four_thousand_equal_names_cost_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    named = inputs._named

    def counted(target: Path, number: int, limit: int) -> Path:
        nonlocal calls
        calls += 1
        return named(target, number, limit)

    monkeypatch.setattr(inputs, "_named", counted)
    same = [InputSource(f"{index}/a.jpg", False, "", Path("a.jpg")) for index in range(4000)]
    targets = {str(item.target) for item in inputs._unique_targets(same, None)}
    assert len(targets) == 4000 and "a-4000.jpg" in targets and calls == 4000


def test_names_are_cut_to_what_a_file_system_takes() -> None:
    for stem in ("x" * 251, "ä" * 125):
        Path(f"{stem}.bmp").write_bytes(b"")
    clip(Path("v" * 251 + ".avi"), frames=1)
    found = [Path(target).name for target in targets("x" * 251 + ".bmp", "ä" * 125 + ".bmp", "v" * 251 + ".avi")]
    assert found[:2] == ["x" * 251 + ".jpg", "ä" * 125 + ".jpg"]
    assert found[2] == "v" * 239 + ".mp4"  # room for -000000 of a snapshot
    same = [InputSource(f"{index}", False, "", Path("x" * 251 + ".jpg")) for index in range(2)]
    assert [len(item.target.name) for item in inputs._unique_targets(same, None)] == [255, 255]


def test_a_recording_of_an_earlier_run_is_kept() -> None:
    Path("out").mkdir()
    Path("out/cam0.mp4").write_bytes(b"yesterday")
    (item,) = collect([], ["cam0"], Path("out"))[0]
    assert str(item.target) == "cam0-2.mp4"


def test_json_is_neither_an_input_nor_a_copy() -> None:
    items = collect(["photos/a.jpg"], [], Path("out"))[0]
    for target in ("photos/a.jpg", "./photos/../photos/a.jpg", "out/a.jpg"):
        with pytest.raises(SettingsError, match="is an input, or an annotated copy"):
            check_targets(items, Path("out"), target)
    protected = check_targets(items, Path("out"), "out/a.jsonl")
    assert protected == identities("photos/a.jpg") | {str(Path("out/a.jpg").resolve())}


def test_an_output_that_is_an_input_is_refused() -> None:
    items = collect(["photos"], [], Path("photos"))[0]
    with pytest.raises(SettingsError, match=r"would overwrite photos/a\.jpg"):
        check_targets(items, Path("photos"))
    with pytest.raises(SettingsError, match="is a file"):
        check_targets(items, Path("photos/a.jpg"))
    check_targets(items, Path("out"))


def test_an_output_is_an_input_under_another_name_of_its_file() -> None:
    """A hard link stands for a file system without case, where the copy IMG.jpg of IMG.JPG is the same file."""
    Path("photos/a.jpg").rename("photos/a.JPG")
    Path("photos/a.jpg").hardlink_to("photos/a.JPG")
    items = collect(["photos/a.JPG"], [], Path("photos"))[0]
    assert items[0].target == Path("a.jpg")
    with pytest.raises(SettingsError, match=r"would overwrite photos/a\.jpg"):
        check_targets(items, Path("photos"))
    with pytest.raises(SettingsError, match="is an input"):
        check_targets(items, None, "photos/a.jpg")


def test_a_pattern_skips_pipes() -> None:
    for name in ("photos/pipe.jpg", "photos/pipe.mp4"):
        os.mkfifo(name)
    items, problems = collect(["photos/*"], [], None)
    assert [item.source for item in items] == ["photos/a.jpg", "photos/sub/a.png"]
    assert problems == [
        f"photos/pipe.{suffix}: skipped, expected a file and found a pipe or a device" for suffix in ("jpg", "mp4")
    ]
    assert collect(["photos/pipe.*"], [], None) == ([], problems)


def test_a_folder_gives_its_videos_and_reports_what_it_cannot_take(folder: Path) -> None:
    clip(Path("photos/clip.mp4"), frames=1)
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    frames[0].save("photos/moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save("photos/still.gif")
    frames[0].save("photos/b.avif")
    Image.new("RGB", (16, 16)).save("photos/c.jfif", format="JPEG")
    Path("photos/phone.HEIC").write_bytes(bytes(20))
    Path("photos/code.ts").write_text("export const x = 1;")
    os.mkfifo("photos/pipe.jpg")
    items, problems = collect(["photos"], [], None)
    assert {str(item.target): item.video for item in items} == {
        "a.jpg": False, "b.jpg": False, "c.jpg": False, "clip.mp4": True, "moving.mp4": True, "phone.jpg": False,
        "still.jpg": False, "sub/a.jpg": False,
    }  # fmt: skip
    assert problems == ["photos/pipe.jpg: skipped, expected a file and found a pipe or a device"]


def test_kinds_by_content_and_addresses_of_files(folder: Path) -> None:
    clip(Path("film.mp4"), frames=1).rename("film")
    Path("photos/a.jpg").rename("photo.mp4")
    items, problems = collect(["film", "photo.mp4", (folder / "film").as_uri()], ["0", "RTSP://h/1", "srt://h:1"], None)
    assert problems == []
    assert [(item.source, item.video, item.live) for item in items] == [
        ("film", True, False),
        ("photo.mp4", False, False),
        ("cam0", True, True),
        ("RTSP://h/1", True, True),
        ("srt://h:1", True, True),
    ]
