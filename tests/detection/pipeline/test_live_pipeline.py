"""`pelee-detect` with cameras and streams: what it shows, writes and says, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from data.images.image_io import read_image
from detection.commands import detect as cli
from detection.video.capture.synthetic_pattern import read_number
from detection.video.video_file import VideoFile
from tests.support.detect_fixtures import fake_model, lines, tree
from tests.support.interruptible import allow_sigint
from tests.support.paths import ROOT
from tests.support.rectangle_session import RectangleRuntime, clip, make_detector
from tests.support.tcp_camera import TcpCamera
from tests.support.video_facts import facts

PATIENCE = 60.0  # seconds, on a machine that is busy with other things


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_model(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> "type[FakeWindow]":
    monkeypatch.setattr("detection.display.window.Window", FakeWindow)
    FakeWindow.pressed, FakeWindow.shown, FakeWindow.statuses = [], [], []
    FakeWindow.until = staticmethod(lambda: len(FakeWindow.shown) >= 10)
    return FakeWindow


class FakeWindow:
    """Keeps each new image until it has seen enough; `pressed` is what the user presses."""

    shown: list[np.ndarray] = []  # noqa: RUF012
    pressed: list[str] = []  # noqa: RUF012
    statuses: list[str] = []  # noqa: RUF012
    until: Callable[[], bool]

    def __init__(self, title: str) -> None:
        self.deadline = time.monotonic() + PATIENCE

    def show(self, image: np.ndarray, wait: bool) -> bool:
        assert not wait and time.monotonic() < self.deadline
        if not self.shown or self.shown[-1] is not image:
            self.shown.append(image)
        return not FakeWindow.until()

    def set_status(self, text: str) -> None:
        self.statuses.append(text)

    def keys(self) -> list[str]:
        keys, FakeWindow.pressed = FakeWindow.pressed, []
        return keys

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def test_the_pattern_until_the_window_is_closed(window, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--video", "test:256x128@100", "--show", "--output", "out", "--json", "-", "--classes", "unseen"]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    found = lines(out)
    assert len(found) == len(window.shown) == 10
    assert [line["source"] for line in found] == ["test:256x128@100"] * 10
    numbers = [read_number(image) for image in window.shown]
    assert numbers == sorted(set(numbers))
    frames = [line["frame"] for line in found]
    times = [line["time"] for line in found]
    assert frames == sorted(set(frames)) and times[0] == 0 and times == sorted(times)
    with VideoFile("out/test-256x128-100.mp4") as copy:
        written = [float(frame.time) for frame in copy]
    assert written == pytest.approx(times, abs=0.003)
    assert "received " in err and "processed 10, " in err and "age when shown" in err and "reconnected 0 times" in err
    assert "age" in window.statuses[-1] and "dropped" in window.statuses[-1]


@pytest.mark.slow
def test_tiles_are_taken_as_the_frame_rate_allows(window, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--video", "test:256x128@20", "--show", "--tiles", "2"]) == 0
    assert " tiles a frame; dropped" in capsys.readouterr().out
    assert "tiles 0.0 a frame" in window.statuses[0]  # nothing is known of the network's speed
    assert "tiles" in window.statuses[-1] and "tiles 0.0" not in window.statuses[-1]


def test_numbers_can_be_left_out(window) -> None:
    window.until = staticmethod(lambda: len(window.shown) >= 2)
    assert cli.main(["--video", "test:640x480", "--show", "--classes", "unseen"]) == 0
    with_numbers = window.shown[-1][:12, :600].copy()
    window.shown.clear()
    assert cli.main(["--video", "test:640x480", "--show", "--classes", "unseen", "--no-numbers"]) == 0
    plain = window.shown[-1][:12, :600]
    assert (with_numbers.max(axis=(0, 2)) < 255).mean() < 1  # white letters
    assert plain.max() == 192 or (plain == 255).any()  # the bars, or the box that wanders over them
    assert not (with_numbers == plain).all()


class Slow(RectangleRuntime):
    """A network of 8 images a second."""

    parallel = 1

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(0.125)
        return super().__call__(images)


def slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = make_detector()
    detector.runtime = Slow()
    monkeypatch.setattr("detection.detector.Detector.load", lambda name, **options: detector)


@pytest.mark.slow
def test_a_slow_network_makes_fewer_images_and_not_older_ones(
    window, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow_model(monkeypatch)
    ages: list[float] = []
    with TcpCamera(rate=40, size="160x128") as camera:
        plain = FakeWindow.show

        def show(self: FakeWindow, image: np.ndarray, wait: bool) -> bool:
            new = not self.shown or self.shown[-1] is not image
            ages.extend([camera.age(image)] if new else [])
            return plain(self, image, wait)

        monkeypatch.setattr(FakeWindow, "show", show)
        window.until = staticmethod(lambda: len(window.shown) >= 16)
        assert cli.main(["--video", camera.address, "--show", "--no-numbers", "--json", "-"]) == 0
    frames = [line["frame"] for line in lines(capsys.readouterr().out)]
    assert np.diff(frames).min() >= 2  # of 40 a second
    # One inference, and what it takes to come; a queue of 16 frames would be 2 s long at the end.
    assert np.median(ages[-5:]) < 1.0 and min(ages) >= 0.125


@pytest.mark.slow
def test_every_third_frame_of_a_camera(window, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--video", "test:64x48@60", "--show", "--every", "3", "--json", "-"]) == 0
    frames = [line["frame"] for line in lines(capsys.readouterr().out)]
    assert np.diff(frames).min() >= 3


@pytest.mark.slow
def test_several_sources_through_one_network(window, capsys: pytest.CaptureFixture[str]) -> None:
    sources = ["test:256x128@40", "test:256x128@50", "test:64x64@60"]
    words = [word for source in sources for word in ("--video", source)]
    window.until = staticmethod(lambda: len(window.shown) >= 60)
    assert cli.main([*words, "--show", "--output", "out", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    found = lines(out)
    for source in sources:
        frames = [line["frame"] for line in found if line["source"] == source]
        assert len(frames) >= 8 and frames == sorted(set(frames))
        assert f"{source}: " in err
    assert window.shown[-1].shape == (640, 1280, 3)  # side by side, 2 by 2
    assert tree("out") == ["test-256x128-40.mp4", "test-256x128-50.mp4", "test-64x64-60.mp4"]
    assert sum(facts(path)[0] for path in Path("out").iterdir()) == len(found)


@pytest.mark.slow
def test_the_keys(window, capsys: pytest.CaptureFixture[str]) -> None:
    """A saved image is the one on the screen; while it stands still lines go on; + hides what scores less."""
    window.pressed = ["s", "+", "+", "+", " "]
    looks: list[int] = []

    def until() -> bool:
        looks.append(1)
        if len(looks) == 8:
            assert len(window.shown) == 1
            FakeWindow.pressed = [" "]
        return len(window.shown) >= 4

    window.until = staticmethod(until)
    arguments = ["--video", "test:256x128@40", "--show", "--conf", "0.8", "--json", "-", "--output", "out"]
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    found = lines(out)
    assert len(found) >= 6 and found[0]["detections"] and not found[-1]["detections"]
    (saved,) = [path for path in Path("out").iterdir() if path.suffix == ".jpg"]
    assert f"saved {saved}" in err and "threshold 0.85\n" in err and "threshold 0.95\n" in err
    assert np.abs(read_image(saved).astype(int) - window.shown[0]).mean() < 4


@pytest.mark.slow
def test_snapshots(window) -> None:
    window.until = staticmethod(lambda: len(window.shown) >= 25)
    assert cli.main(["--video", "test:64x48@40", "--show", "--output", "out", "--snapshot-every", "0.25"]) == 0
    pictures = [path for path in tree("out") if path.endswith(".jpg")]
    assert 2 <= len(pictures) <= 25 and pictures[0].startswith("test-64x48-40-0")


@pytest.mark.slow
def test_a_camera_that_dies_is_marked_said_and_taken_up_again(
    window, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with TcpCamera(rate=20, size="160x128") as camera:
        marks: list[np.ndarray] = []

        def until() -> bool:
            if len(window.shown) == 5 and not marks:
                camera.kill()
            last = window.shown[-1]
            red = (last == (200, 30, 30)).all(axis=2).sum() > 500
            if red and len(marks) < 2 and not (marks and marks[-1] is last):
                marks.append(last)
                if len(marks) == 2:
                    camera.start()
            return len(marks) == 2 and any("reconnected 1" in line for line in window.statuses[-1:])

        window.until = staticmethod(until)
        assert cli.main(["--video", camera.address, "--show", "--output", "out", "--json", "found.jsonl"]) == 0
    err = capsys.readouterr().err.splitlines()
    assert f"{camera.address}: the stream ended; reconnecting" in err
    assert any(line.startswith(f"{camera.address}: the signal is back after ") for line in err)
    # The last frame is still to be seen, darker: its number, too.
    assert marks[0].max() > 100 and (marks[0][112:, :, 1] > 60).any()
    found = lines(Path("found.jsonl").read_text())
    (video,) = Path("out").iterdir()
    assert facts(video)[0] > len(found)  # with the marked ones
    assert found[-1]["time"] > 1


@pytest.mark.slow
def test_a_camera_that_stays_away_is_3(window, capsys: pytest.CaptureFixture[str]) -> None:
    with TcpCamera(rate=20, size="160x128") as camera:

        def until() -> bool:
            if len(window.shown) == 3:
                camera.kill()
            return False

        window.until = staticmethod(until)
        assert cli.main(["--video", camera.address, "--show", "--retry", "1", "--output", "out"]) == 3
        camera.start()
    err = capsys.readouterr().err.splitlines()
    assert err[0] == f"{camera.address}: the stream ended; reconnecting"
    assert (
        err[1].startswith(f"error: {camera.address}: the stream does not open") and "given up after 1 tries" in err[1]
    )
    assert facts(next(Path("out").iterdir()))[0] >= 3


@pytest.mark.parametrize(
    "address", ["cam97", "/dev/video97", "tcp://127.0.0.1:9", "rtsp://user:secret@127.0.0.1:9/1?key=secret"]
)
def test_absent_at_the_start_is_3_and_one_line(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    assert cli.main(["--video", address, "--output", "out", "--json", "found.jsonl"]) == 3
    assert time.monotonic() - begin < 10
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("error: ") and "does not open" in err
    assert "secret" not in err
    assert tree(".") == ["found.jsonl"] and Path("found.jsonl").read_text() == ""


@pytest.mark.slow
def test_busy_is_3(capfd: pytest.CaptureFixture[str]) -> None:
    import socket

    with TcpCamera(rate=20, size="160x128", one=True) as camera:
        port = int(camera.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as other:
            other.recv(100)
            assert cli.main(["--video", camera.address]) == 3
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1


@pytest.mark.slow
def test_one_of_two_that_is_absent_does_not_end_the_other(window, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--video", "cam97", "--video", "test:64x48", "--show"]) == 3
    assert len(window.shown) == 10 and "cam97: the camera does not open" in capsys.readouterr().err


def test_a_line_outside_one_cameras_frame_ends_that_camera_only(window, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trackers")
    words = ["--video", "test:64x48@50", "--video", "test:256x128@50", "--line", "0,100,200,100", "--show"]
    assert cli.main([*words, "--json", "-", "--output", "out"]) == 1
    out, err = capsys.readouterr()
    assert {line["source"] for line in lines(out)} == {"test:256x128@50"}
    assert err.count("error: test:64x48@50: '--line 0,100,200,100' reaches to 200,100, and the frame is 64x48") == 1
    assert tree("out") == ["test-256x128-50.mp4"]


@pytest.mark.slow
def test_files_come_before_what_does_not_end(window, capsys: pytest.CaptureFixture[str]) -> None:
    clip(Path("clip.mp4"), frames=4, rate=Fraction(100))
    assert cli.main(["--video", "test:64x48", "--video", "clip.mp4", "--show", "--json", "-"]) == 0
    found = lines(capsys.readouterr().out)
    assert [line["source"] for line in found] == ["clip.mp4"] * 4 + ["test:64x48"] * 6
    assert [line["time"] for line in found[:4]] == [0, 0.01, 0.02, 0.03]


@pytest.mark.slow
def test_tracks_are_in_the_lines_the_image_and_the_report(window, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trackers")
    clip(Path("clip.mp4"), frames=15)
    assert cli.main(["--video", "clip.mp4", "--line", "0.5,0,0.5,1", "--output", "out", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    found = lines(out)
    assert {one["track_id"] for line in found[4:] for one in line["detections"]} == {1}
    assert set(found[-1]["counts"]) >= {"objects", "lines", "zones"}
    assert "clip.mp4: tracks " in err
    window.until = staticmethod(lambda: len(window.shown) >= 12)
    assert cli.main(["--video", "test:256x128@40", "--track", "--show", "--json", "-"]) == 0
    live = lines(capsys.readouterr().out)
    assert all("track_id" in one for line in live for one in line["detections"]) and "counts" in live[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--video", "test:9x9"], "expected 32x32"),
        (["--video", "test", "--line", "1,2,3"], "--line"),
        (["--video", "test", "--zone", "nonsense"], "--zone"),
    ],
)
def test_wrong_settings_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) in (2, 3)
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--video", "test", "--snapshot-every", "1"],
        ["--video", "test", "--output", "out", "--snapshot-every", "0"],
        ["--video", "test", "--show", "--web"],
        ["--video", "test", "--retry", "-1"],
        ["--video", "test", "--every", "0"],
        ["--video", "test", "--web", "nonsense"],
    ],
)
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2


PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import detection.detector
from tests.support.rectangle_session import make_detector
detection.detector.Detector.load = lambda name, **options: make_detector()
from detection.commands import detect as cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_recording_can_be_played_and_its_lines_read() -> None:
    words = ["--video", "test:64x48@60", "--output", "out", "--json", "found.jsonl"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *words], env=environment) as process:
        deadline = time.monotonic() + PATIENCE
        found: list[dict] = []
        while len(found) < 150 and time.monotonic() < deadline:  # followed while it is written
            text = Path("found.jsonl").read_text() if Path("found.jsonl").exists() else ""
            found = lines(text[: text.rfind("\n") + 1])
            time.sleep(0.05)
        process.kill()
    assert len(found) >= 150
    with VideoFile("out/test-64x48-60.mp4") as copy:
        times = [float(frame.time) for frame in copy]
    assert times[-1] > found[-1]["time"] - 2.5 and times == sorted(times)


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_finish_everything(sent: signal.Signals, code: int) -> None:
    """The real signal, to a real process, while it looks at two sources."""
    words = ["--video", "test:64x48@20", "--video", "test:64x48@25", "--output", "out", "--json", "-"]
    with Path("errors").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            preexec_fn=allow_sigint,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout:
            seen = [process.stdout.readline() for _ in range(20)]
            process.send_signal(sent)
            rest = process.stdout.read()
        assert process.wait(PATIENCE) == code
        errors.seek(0)
        err = errors.read()
    assert "interrupted; what was written is complete as far as it got" in err and "Traceback" not in err
    found = lines("".join(seen) + rest)
    written = {path.name: facts(path)[0] for path in Path("out").iterdir()}
    assert sorted(written) == ["test-64x48-20.mp4", "test-64x48-25.mp4"]
    assert 0 <= len(found) - sum(written.values()) <= 1
