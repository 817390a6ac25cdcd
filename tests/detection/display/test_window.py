"""The window: its keys, and once on a real screen, which Xvfb keeps in a file."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from detection.display import window
from detection.video.capture.synthetic_pattern import BARS
from tests.support.interruptible import allow_sigint
from tests.support.paths import ROOT
from tests.support.rectangle_session import picture

XVFB = shutil.which("Xvfb")
REQUIRED = bool(os.environ.get("CI"))  # there, a screen that is missing is a failure
PATIENCE = 25.0  # seconds, for a start on a machine that is busy with other things
STARTS = 4


class FakeScreen:
    """OpenCV's windows, with keys from a list."""

    WINDOW_NORMAL = WINDOW_KEEPRATIO = WINDOW_GUI_NORMAL = WND_PROP_VISIBLE = COLOR_RGB2BGR = 0

    def __init__(self, *keys: int) -> None:
        self.keys = list(keys)
        self.visible = 1.0
        self.sizes: list[tuple[int, int]] = []

    def waitKey(self, _: int) -> int:
        return self.keys.pop(0) if self.keys else -1

    def getWindowProperty(self, *_: object) -> float:
        return self.visible

    def resizeWindow(self, _: str, width: int, height: int) -> None:
        self.sizes.append((width, height))

    def __getattr__(self, name: str) -> object:
        return lambda *arguments: arguments[:1]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> FakeScreen:
    screen = FakeScreen()
    monkeypatch.setitem(sys.modules, "cv2", screen)  # type: ignore[arg-type]
    monkeypatch.setattr(window, "check_display", lambda: None)
    return screen


def test_keys_are_kept_until_they_are_asked_for(screen: FakeScreen) -> None:
    screen.keys = [-1, ord("s"), ord("+"), ord("="), ord("-"), 0xFFAB, ord("x"), ord(" ")]
    with window.Window("title") as shown:
        for _ in range(8):
            assert shown.show(picture(), wait=False)
        assert shown.keys() == ["s", "+", "+", "-", "+", " "] and shown.keys() == []


@pytest.mark.parametrize("key", [ord("q"), 27])
@pytest.mark.parametrize("wait", [False, True])
def test_q_and_escape_quit(screen: FakeScreen, key: int, wait: bool) -> None:
    screen.keys = [key]
    assert not window.Window("title").show(picture(), wait=wait)


def test_waiting_ends_with_any_key_or_with_the_window(screen: FakeScreen) -> None:
    screen.keys = [-1, -1, ord("n"), -1]
    shown = window.Window("title")
    assert shown.show(picture(), wait=True) and screen.keys == [-1]
    screen.visible = 0.0
    assert not shown.show(picture(), wait=True)


@pytest.mark.slow
def test_a_window_is_as_large_as_its_image_up_to_a_limit(screen: FakeScreen) -> None:
    for width, height in [(256, 128), (5120, 2560)]:
        shown = window.Window("title")
        for _ in range(2):  # later ones leave the size to the user
            shown.show(picture(width, height), wait=False)
    assert screen.sizes == [(256, 128), (1280, 640)]


def pixels(file: Path) -> np.ndarray:
    """The screen, (H, W, 3) uint8 RGB, from Xvfb's file: X11's XWD, 32 bits a pixel."""
    data = file.read_bytes()
    header = np.frombuffer(data, ">u4", 25)
    height, line, colors = int(header[5]), int(header[12]), int(header[19])
    values = np.frombuffer(data, np.uint8, height * line, int(header[0]) + 12 * colors)
    return values.reshape(height, line // 4, 4)[..., 2::-1]


@pytest.mark.slow
@pytest.mark.skipif(XVFB is None and not REQUIRED, reason="Xvfb is not here; on Debian: apt-get install xvfb")
def test_the_pattern_stands_on_a_real_screen(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import detection.detector
from tests.support.rectangle_session import make_detector
detection.detector.Detector.load = lambda name, **options: make_detector()
from detection.commands import detect as cli
sys.exit(cli.main(sys.argv[1:]))
"""
    assert XVFB is not None
    words = [
        XVFB,
        "-displayfd",
        "1",
        "-screen",
        "0",
        "800x600x24",
        "-fbdir",
        str(tmp_path),
        "-nolisten",
        "tcp",
        "-noreset",
    ]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        display = f":{server.stdout.readline().strip()}"
        command = [sys.executable, "-c", code, "--video", "test:640x480", "--show", "--classes", "unseen"]
        # Where there is no window manager, OpenCV's Qt now and then never paints at all: a bare imshow in a loop, too,
        # one start in ten on a busy machine.
        assert any(_shows(command, display, tmp_path / "Xvfb_screen0") for _ in range(STARTS))
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def _shows(command: list[str], display: str, file: Path) -> bool:
    """Whether the command paints its pattern; it is interrupted then, and must end well. False if it never paints."""
    shown = subprocess.Popen(
        command,
        env=os.environ | {"DISPLAY": display, "PYTHONPATH": str(ROOT)},
        preexec_fn=allow_sigint,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not _on_screen(pixels(file)):
            assert shown.poll() is None, shown.communicate()[1]
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        shown.send_signal(signal.SIGINT)
        out, err = shown.communicate(timeout=PATIENCE)
        assert shown.returncode == 130 and "test:640x480" in out
        assert err == "interrupted; what was written is complete as far as it got\n"
    finally:
        shown.kill()
        shown.wait()
    return True


def _on_screen(screen: np.ndarray) -> bool:
    """Whether each of the pattern's bars covers a part of the screen."""
    return all((screen == color).all(axis=2).sum() > 5000 for color in BARS)
