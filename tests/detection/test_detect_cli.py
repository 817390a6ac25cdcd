import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from PIL import Image
from rectangle_runtime import WHITE, RectangleRuntime, clip, make_detector, picture
from test_video import FakeCapture, facts

from data.errors import WeightsError
from data.images import read_image
from detection import cli
from detection.detector import Detector


@pytest.fixture(autouse=True)
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Detector:
        if name != "pelee-voc":
            raise WeightsError(f"{name!r} is neither a shipped model (pelee-voc) nor a path that exists")
        return make_detector()

    monkeypatch.setattr("detection.detector.Detector.load", load)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/{a.jpg, sub/a.png, sub/none.png}, and the working directory above it."""
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    Image.fromarray(picture()).save("photos/a.jpg", quality=95)
    both = picture(200, 100, (20, 20, 80, 80))
    both[30:70, 120:180] = WHITE
    Image.fromarray(both).save("photos/sub/a.png")
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save("photos/sub/none.png")
    return Path("photos")


def tree(folder: Path | str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_folder_with_everything(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["photos", "--output", "out", "--json", "found.jsonl"]) == 0
    assert tree("out") == ["a.jpg", "sub/a.jpg", "sub/none.jpg"]
    assert (read_image("out/a.jpg") != read_image("photos/a.jpg")).any()
    assert read_image("out/sub/a.jpg").shape == (100, 200, 3)
    first, second, third = lines(Path("found.jsonl").read_text())
    assert (first["source"], first["frame"], first["width"], first["height"]) == ("photos/a.jpg", 0, 256, 128)
    assert [item["label"] for item in second["detections"]] == ["red thing", "white thing"]
    np.testing.assert_allclose(second["detections"][1]["box"], [120, 30, 180, 70], atol=2)
    assert third["detections"] == []
    out, err = capsys.readouterr()
    assert err == ""  # no terminal, no bars
    assert "1 red thing, 1 white thing" in out and "2 red thing, 1 white thing" in out and "nothing" in out
    assert "pictures/s" in out and "network" in out and "encode" in out


def test_json_on_stdout_moves_the_table_to_stderr(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["photos/a.jpg", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert [line["source"] for line in lines(out)] == ["photos/a.jpg"]
    assert "red thing" in err and "pictures/s" in err
    assert tree(".") == ["photos/a.jpg", "photos/sub/a.png", "photos/sub/none.png"]  # nothing else was written


def test_the_card_decides_the_confidence_unless_told(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def found(*options: str) -> list[str]:
        assert cli.main(["photos/sub/a.png", "--json", "-", *options]) == 0
        return [item["label"] for item in lines(capsys.readouterr().out)[0]["detections"]]

    assert found() == ["red thing", "white thing"]
    assert found("--conf", "0.7") == ["red thing"]
    assert found("--classes", "white thing, unseen") == ["white thing"]
    assert found("--classes", "1") == ["white thing"]
    assert found("--max-detections", "1") == ["red thing"]


def test_patterns_that_the_shell_left_alone(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/notes.txt").write_text("no picture")
    clip(Path("photos/clip.mp4"), frames=3)
    assert cli.main(["photos/*", "--json", "-"]) == 0
    found = lines(capsys.readouterr().out)
    assert [line["source"] for line in found[:3]] == ["photos/a.jpg", "photos/sub/a.png", "photos/sub/none.png"]
    assert [(line["source"], line["frame"]) for line in found[3:]] == [("photos/clip.mp4", n) for n in range(3)]


def test_a_file_whose_name_looks_like_a_pattern(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/a.jpg").rename("[a]*.jpg")
    assert cli.main(["[a]*.jpg", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert lines(out)[0]["source"] == "[a]*.jpg" and "[a]*.jpg" in err


def test_each_picture_once(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["photos/a.jpg", "photos", str(photos.resolve()), "--json", "-"]) == 0
    assert len(lines(capsys.readouterr().out)) == 3


def test_equal_names_do_not_overwrite_each_other(photos: Path) -> None:
    Path("other").mkdir()
    Image.fromarray(picture()).save("other/a.jpg")
    Image.fromarray(picture()).save("other/A.png")
    assert cli.main(["photos", "other", "photos/sub/a.png", "--output", "out"]) == 0
    assert tree("out") == sorted(["a.jpg", "sub/a.jpg", "sub/none.jpg", "A-2.jpg", "a-3.jpg"])


def test_results_of_an_earlier_run_are_no_input(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert cli.main([".", "--output", "out", "--json", "-"]) == 0
        assert len(lines(capsys.readouterr().out)) == 3
    assert tree("out") == ["photos/a.jpg", "photos/sub/a.jpg", "photos/sub/none.jpg"]


def test_a_picture_is_never_overwritten_by_its_result(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("photos/a.jpg").read_bytes()
    assert cli.main(["photos", "--output", "photos"]) == 2
    assert "would overwrite photos/a.jpg" in capsys.readouterr().err
    assert Path("photos/a.jpg").read_bytes() == before


def test_what_cannot_be_read_is_a_line_and_the_rest_is_done(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    Path("photos/empty.mp4").write_bytes(b"")
    assert cli.main(["photos", "gone.jpg", "photos/empty.mp4", "none/*.png", "--output", "out", "--json", "-"]) == 1
    out, err = capsys.readouterr()
    assert len(lines(out)) == 3 and tree("out") == ["a.jpg", "sub/a.jpg", "sub/none.jpg"]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    for name in ("broken.jpg", "gone.jpg", "empty.mp4", "none/*.png"):
        assert sum(name in line for line in errors) == 1


@pytest.mark.parametrize("inputs", [["gone.jpg"], ["broken.jpg"], ["empty"], ["*.bmp"], ["cam0"]])
def test_nothing_read_is_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], inputs: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.jpg").write_bytes(b"no")
    Path("empty").mkdir()
    assert cli.main(inputs) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and len(err.splitlines()) == 1
    if inputs == ["cam0"]:
        assert "--video" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.jpg", "--conf", "1.5"],
        ["a.jpg", "--conf", "x"],
        ["a.jpg", "--iou", "-1"],
        ["a.jpg", "--iou", "nan"],
        ["a.jpg", "--max-detections", "0"],
        ["a.jpg", "--max-detections", "2.5"],
        ["a.jpg", "--unknown"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "pelee-detect: error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classes", "red thin"], "did you mean 'red thing'"),
        (["--classes", ","], "classes is empty"),
        (["--weights", "pelee-vok"], "pelee-vok"),
        (["--output", "photos/a.jpg"], "is a file; name a folder"),
        (["--json", "photos"], "is a folder; name a file"),
    ],
)
def test_wrong_settings_are_one_line_before_any_work(
    photos: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert cli.main(["photos", *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in err and len(err.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write everywhere")
def test_an_output_folder_that_cannot_be_written(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert cli.main(["photos", "--output", "locked"]) == 2
    assert "locked" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_with_a_line_and_keeps_what_is_whole(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from detection import pipeline

    Path("found.jsonl").write_text("old")
    write = pipeline.write_image

    def fail_at_second(path: Path, image: np.ndarray) -> None:
        if path.name != "a.jpg" or path.parent.name == "sub":
            raise OSError(28, "No space left on device", str(path))
        write(path, image)

    monkeypatch.setattr(pipeline, "write_image", fail_at_second)
    assert cli.main(["photos", "--output", "out", "--json", "found.jsonl"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: No space left on device: out/sub/a.jpg") and len(err.splitlines()) == 1
    assert tree("out") == ["a.jpg"] and Path("found.jsonl").read_text() == "old"


def test_json_to_something_that_is_no_file_is_not_replaced(photos: Path) -> None:
    assert cli.main(["photos", "--json", os.devnull]) == 0
    assert not Path(os.devnull).is_file()


def test_a_video_is_annotated_frame_by_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    clip(Path("clip.mp4"), frames=15)
    assert cli.main(["clip.mp4", "--output", "out", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    found = lines(out)
    assert [line["frame"] for line in found] == list(range(15))
    for line in found:
        x = 8 + 4 * line["frame"] % 64
        np.testing.assert_allclose(line["detections"][0]["box"], [x, 24, x + 32, 56], atol=3)
    assert facts(Path("out/clip.mp4")) == facts(Path("clip.mp4"))
    assert "15 red thing" in err
    assert cli.main(["--video", "clip.mp4", "--json", "same.jsonl"]) == 0
    assert lines(Path("same.jsonl").read_text()) == found


def test_a_cut_video_keeps_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    content = clip(Path("whole.mp4"), frames=60).read_bytes()
    Path("cut.mp4").write_bytes(content[: -len(content) // 4])
    assert cli.main(["cut.mp4", "whole.mp4", "--output", "out", "--json", "found.jsonl"]) == 1
    err = capsys.readouterr().err
    count = facts(Path("out/cut.mp4"))[0]
    assert err == f"error: cut.mp4: only {count} of 60 frames could be read (the file is cut off or damaged there)\n"
    assert facts(Path("out/whole.mp4"))[0] == 60
    assert len(lines(Path("found.jsonl").read_text())) == count + 60


def test_a_bug_midway_is_a_traceback_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip(Path("clip.mp4"))
    Path("out").mkdir()
    Path("out/clip.mp4").write_bytes(b"old")

    class Failing(RectangleRuntime):
        def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if len(self.batches) == 5:
                raise RuntimeError("bug")
            return super().__call__(images)

    detector = make_detector()
    detector._runtime = Failing()
    monkeypatch.setattr("detection.detector.Detector.load", lambda name: detector)
    with pytest.raises(RuntimeError, match="bug"):
        cli.main(["clip.mp4", "--output", "out", "--json", "found.jsonl"])
    assert tree(".") == ["clip.mp4", "out/clip.mp4"] and Path("out/clip.mp4").read_bytes() == b"old"


def test_a_camera_until_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    assert cli.main(["--video", "cam0", "--output", "out", "--json", "-"]) == 1
    out, err = capsys.readouterr()
    assert [(line["source"], line["frame"]) for line in lines(out)] == [("cam0", index) for index in range(5)]
    assert "error: cam0: the camera stopped after 5 frames" in err
    assert facts(Path("out/cam0.mp4"))[0] == 5


def test_an_address_keeps_its_password_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    address = "rtsp://user:secret@host:554/live/1?key=secret"
    assert cli.main(["--video", address, "--output", "out", "--json", "found.jsonl"]) == 1
    out, err = capsys.readouterr()
    assert tree(".") == ["found.jsonl", "out/host-554-live-1.mp4"]
    assert "secret" not in out + err + Path("found.jsonl").read_text()


def test_a_camera_that_does_not_open_is_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--video", "cam97"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "cam97: the camera does not open" in err


def test_show_without_a_screen_says_what_to_do(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert cli.main(["photos", "--show"]) == 2
    err = capsys.readouterr().err
    assert "--output" in err and len(err.splitlines()) == 1


def test_quitting_the_window_ends_the_run_in_order(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[int, ...]] = []

    class FakeWindow:
        def __init__(self, title: str) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def show(self, image: np.ndarray, wait: bool) -> bool:
            shown.append((*image.shape, wait))
            return len(shown) < 5

    monkeypatch.setattr("detection.video.window.Window", FakeWindow)
    clip(Path("clip.mp4"), frames=12)
    assert cli.main(["photos", "clip.mp4", "--show", "--output", "out"]) == 0
    assert shown == [(128, 256, 3, True), (100, 200, 3, True), (40, 30, 3, True), *[(96, 128, 3, False)] * 2]
    assert facts(Path("out/clip.mp4"))[0] == 2


def test_ctrl_c_finishes_video_and_json(tmp_path: Path) -> None:
    """The real signal, to a real process, in the middle of a video."""
    clip(tmp_path / "clip.mp4", frames=400)
    here = Path(__file__).parent
    code = f"""
import sys, time
sys.path.insert(0, {str(here)!r})
import detection.detector
from rectangle_runtime import RectangleRuntime, make_detector
class Slow(RectangleRuntime):
    def __call__(self, images):
        time.sleep(0.02)
        if len(self.batches) == 10:
            print("ready", flush=True)
        return super().__call__(images)
detector = make_detector()
detector._runtime = Slow()
detection.detector.Detector.load = lambda name: detector
from detection import cli
sys.exit(cli.main(["clip.mp4", "--output", "out", "--json", "found.jsonl"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(here.parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert not (tmp_path / "found.jsonl").exists()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted; what was written is complete as far as it got\n"
    assert "red thing" in out
    frames = facts(tmp_path / "out" / "clip.mp4")[0]
    found = lines((tmp_path / "found.jsonl").read_text())
    assert 5 <= frames < 400 and 0 <= len(found) - frames <= 1
    assert tree(tmp_path) == ["clip.mp4", "found.jsonl", "out/clip.mp4"]


def test_many_pictures_are_told_by_folder(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(50):
        Image.fromarray(picture(32, 32, (4, 4, 28, 28))).save(photos / f"{index}.png")
    assert cli.main(["photos"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 10 and "52 red thing" in out and "53" in out


def test_help_is_instant() -> None:
    heavy = "{'numpy', 'cv2', 'torch', 'supervision', 'av', 'rich', 'PIL'}"
    code = f"""
import sys
from detection import cli
try:
    cli.main(["--help"])
except SystemExit as stop:
    assert stop.code == 0
sys.stderr.write(repr(sorted({heavy} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]"
    assert "exit codes:" in done.stdout and "130" in done.stdout
