"""Latest frame: numbers, waits, viewers, encoding."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from detection.display import latest_frame
from detection.display.latest_frame import VIEWERS, LatestFrame
from tests.support.rectangle_session import picture


def test_frames_are_numbered_and_the_same_image_again_is_none() -> None:
    frame, image = LatestFrame(), picture(64, 48)
    assert frame.jpeg() == (0, b"")
    for _ in range(3):
        frame.put(image, wait=False)
    assert frame.state("")["picture"] == 1
    frame.put(image.copy(), wait=False)
    found = frame.jpeg()
    assert found is not None and found[0] == 2
    assert Image.open(io.BytesIO(found[1])).size == (64, 48)


def test_a_frame_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = latest_frame._encode
    monkeypatch.setattr(latest_frame, "_encode", lambda image: (encoded.append(1), encode(image))[1])
    frame = LatestFrame()
    frame.put(picture(64, 48), wait=False)
    assert frame.jpeg() == frame.jpeg() and encoded == [1]


def test_put_waits_for_a_request_of_that_frame() -> None:
    frame = LatestFrame()
    thread = threading.Thread(target=frame.put, args=(np.zeros((8, 8, 3), np.uint8), True))
    thread.start()
    assert frame.jpeg(after=0, seconds=30) is not None
    frame.request_next(0)  # an outdated request
    assert thread.is_alive() and frame.state("")["waiting"]
    frame.request_next(1)
    thread.join(30)
    assert not thread.is_alive() and not frame.state("")["waiting"]


def test_jpeg_returns_the_same_frame_after_the_timeout_and_none_once_closed() -> None:
    frame = LatestFrame()
    frame.put(picture(64, 48), wait=False)
    again = frame.jpeg(after=1, seconds=0.01)
    assert again is not None and again[0] == 1
    frame.close()
    assert frame.jpeg(after=1, seconds=30) is None


def test_viewers_are_limited_and_give_their_place_back() -> None:
    frame = LatestFrame()
    for _ in range(2):
        contexts = [frame.viewer(str(index)) for index in range(VIEWERS + 1)]
        assert [context.__enter__() for context in contexts] == [True] * VIEWERS + [False]
        assert frame.state("0")["watching"] and not frame.state("8")["watching"]
        for context in contexts:
            context.__exit__(None, None, None)
    assert frame.viewers == []
