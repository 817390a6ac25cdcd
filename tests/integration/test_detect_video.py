"""`pelee-detect` with videos, cameras and a window."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from detection.commands import detect as cli
from tests.support.detect_fixtures import fake_model, lines, make_photos, tree
from tests.support.interruptible import allow_sigint
from tests.support.paths import ROOT
from tests.support.rectangle_session import RectangleRuntime, clip, make_detector
from tests.support.video_facts import facts


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_model(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_photos(tmp_path, monkeypatch)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_cut_video_keeps_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    content = clip(Path("whole.mp4"), frames=60).read_bytes()
    Path("cut.mp4").write_bytes(content[: -len(content) // 4])
    assert cli.main(["cut.mp4", "whole.mp4", "--output", "out", "--json", "found.jsonl"]) == 1
    err = capsys.readouterr().err
    count = facts(Path("out/cut.mp4"))[0]
    assert err == f"error: cut.mp4: only {count} of 60 frames could be read (the file is cut off or damaged)\n"
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
    detector.runtime = Failing()
    monkeypatch.setattr("detection.detector.Detector.load", lambda name, **options: detector)
    with pytest.raises(RuntimeError, match="bug"):
        cli.main(["clip.mp4", "--output", "out", "--json", "found.jsonl"])
    assert tree(".") == ["clip.mp4", "found.jsonl", "out/clip.mp4"] and Path("out/clip.mp4").read_bytes() == b"old"
    assert [line["frame"] for line in lines(Path("found.jsonl").read_text())] == list(range(5)), "complete lines only"


def test_show_without_a_screen_says_what_to_do(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert cli.main(["photos", "--show"]) == 2
    err = capsys.readouterr().err
    assert "--output" in err and len(err.splitlines()) == 1


@pytest.mark.slow
def test_quitting_the_window_ends_the_run_in_order(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[np.ndarray, bool]] = []

    class FakeWindow:
        def __init__(self, title: str) -> None:
            pass

        def keys(self) -> list[str]:
            return []

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def show(self, image: np.ndarray, wait: bool) -> bool:
            if not shown or shown[-1][0] is not image:
                shown.append((image, wait))
            return len(shown) < 5

    monkeypatch.setattr("detection.display.window.Window", FakeWindow)
    clip(Path("clip.mp4"), frames=12)
    assert cli.main(["photos", "clip.mp4", "--show", "--output", "out"]) == 0
    sizes = [(*image.shape, wait) for image, wait in shown]
    assert sizes == [(128, 256, 3, True), (100, 200, 3, True), (40, 30, 3, True), *[(96, 128, 3, False)] * 2]
    assert facts(Path("out/clip.mp4"))[0] == 2


@pytest.mark.slow
def test_ctrl_c_finishes_video_and_json(tmp_path: Path) -> None:
    """The real signal, to a real process, in the middle of a video."""
    clip(tmp_path / "clip.mp4", frames=400)
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
import detection.detector
from tests.support.rectangle_session import RectangleRuntime, make_detector
class Slow(RectangleRuntime):
    def __call__(self, images):
        time.sleep(0.02)
        if len(self.batches) == 10:
            print("ready", flush=True)
        return super().__call__(images)
detector = make_detector()
detector.runtime = Slow()
detection.detector.Detector.load = lambda name, **options: detector
from detection.commands import detect as cli
sys.exit(cli.main(["clip.mp4", "--output", "out", "--json", "found.jsonl"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        preexec_fn=allow_sigint,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    while not lines((tmp_path / "found.jsonl").read_text()):  # lines can be read while they are written
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted; what was written is complete as far as it got\n"
    assert "red thing" in out
    frames = facts(tmp_path / "out" / "clip.mp4")[0]
    found = lines((tmp_path / "found.jsonl").read_text())
    assert 5 <= frames < 400 and 0 <= len(found) - frames <= 1
    assert tree(tmp_path) == ["clip.mp4", "found.jsonl", "out/clip.mp4"]
