"""Cameras: frames in RGB with their time, and devices that cannot be opened."""

import time

import numpy as np
import pytest

from data.errors import ImageError
from detection.video.capture.camera import Camera
from detection.video.open_source import open_capture
from tests.support.rectangle_session import RED, picture
from tests.support.tcp_camera import TcpCamera


@pytest.mark.slow
def test_a_busy_camera_gives_nothing_to_a_second_one(capfd: pytest.CaptureFixture[str]) -> None:
    with TcpCamera(rate=20, size="160x128", one=True) as camera:
        first = open_capture(camera.address)
        with pytest.raises(ImageError, match=r"the stream (does not open|has no video)"):
            open_capture(camera.address)
        first.close()
    assert capfd.readouterr().err == ""


class FakeCapture:
    """OpenCV's capture of a camera that gives two frames, BGR, and then no more."""

    def __init__(self, *given: object) -> None:
        self.given, self.left, self.released = given, 2, False

    def isOpened(self) -> bool:
        return True

    def get(self, _: int) -> float:
        return 0.0  # as many cameras answer when asked for their rate

    def set(self, *_: object) -> bool:
        return False

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, picture(64, 48, (0, 0, 64, 48))[..., ::-1].copy()

    def release(self) -> None:
        self.released = True


def test_a_camera_gives_rgb_and_the_time_until_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    camera = Camera("cam3")
    assert camera._capture.given == (3,) and camera.rate is None
    shots = [camera.read(), camera.read()]
    assert all(shot.to_rgb()[20, 20].tolist() == list(RED) for shot in shots)
    assert shots[0].captured <= shots[1].captured <= time.monotonic()
    with pytest.raises(ImageError, match="cam3: the camera gives no images"):
        camera.read()
    camera.close()
    assert camera._capture.released
