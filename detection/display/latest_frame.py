"""Latest frame of a web view, encoded once for all viewers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

QUALITY = 80  # of the JPEGs
VIEWERS = 8  # at once


class LatestFrame:
    """Latest frame, shared by threads: one puts frames, the others wait for them and read them.

    Attributes:
        status: line of text beside the image.
        viewers: names of the connected viewers.
    """

    def __init__(self) -> None:
        self.status = ""
        self.viewers: list[str] = []
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._frame: tuple[int, np.ndarray | None] = (0, None)  # number from 1, and image
        self._encoded = (0, b"")
        self._requested_after = 0  # number of the frame after which a viewer has requested the next one
        self._since = time.monotonic()
        self._waiting = False
        self._closed = False

    def put(self, image: np.ndarray, wait: bool) -> None:
        """Set the frame, with `wait` until a viewer requests the next one; the same image again is no new frame."""
        with self._changed:
            if self._frame[1] is image and not wait:
                return
            index = self._frame[0] + 1
            self._frame, self._since = (index, image), time.monotonic()
            self._waiting = wait
            self._changed.notify_all()
            if wait:
                self._changed.wait_for(lambda: self._requested_after == index)
                self._waiting = False

    def request_next(self, index: int) -> None:
        """Request the frame after number `index`; repeated requests for the same one count once."""
        with self._changed:
            if index == self._frame[0]:
                self._requested_after = index
                self._changed.notify_all()

    def close(self) -> None:
        """End all waits: `jpeg` returns None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def jpeg(self, after: int = 0, seconds: float = 0.0) -> tuple[int, bytes] | None:
        """Return number and JPEG of the latest frame.

        Args:
            after: wait for a frame with a larger number.
            seconds: timeout of that wait; the frame is then returned again.

        Returns:
            Number 0 and no bytes before the first frame; None once the view is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame[0] > after or self._closed, seconds)
            if self._closed:
                return None
        with self._encoding:
            index, image = self._frame
            if image is not None and self._encoded[0] != index:
                self._encoded = index, _encode(image)
            return self._encoded

    @contextmanager
    def viewer(self, name: str) -> Iterator[bool]:
        """Register a viewer while the block runs; yields False where there are `VIEWERS` already."""
        with self._changed:
            room = len(self.viewers) < VIEWERS
            if room:
                self.viewers.append(name)
        try:
            yield room
        finally:
            if room:
                with self._changed:
                    self.viewers.remove(name)

    def state(self, viewer: str) -> dict[str, Any]:
        """State for `state.json`, as the page of `viewer` needs it."""
        with self._changed:
            return {
                "picture": self._frame[0],
                "seconds": round(time.monotonic() - self._since, 1),  # since the frame was put
                "numbers": self.status,
                "viewers": len(self.viewers),
                "room": VIEWERS,
                "watching": viewer in self.viewers,
                "waiting": self._waiting,
            }


def _encode(image: np.ndarray) -> bytes:
    import cv2

    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return jpeg.tobytes()
