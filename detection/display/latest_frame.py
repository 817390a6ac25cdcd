"""Latest frame, encoded once for all viewers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

QUALITY = 80  # of the JPEGs
VIEWERS = 8  # at once


class LatestFrame:
    """The newest picture, for any number of threads: one puts, the others look."""

    def __init__(self) -> None:
        self.numbers = ""
        self.viewers: list[str] = []
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._picture: tuple[int, np.ndarray | None] = (0, None)  # its number, from 1, and itself
        self._encoded = (0, b"")
        self._asked = 0  # the picture after which somebody has asked for the next
        self._since = time.monotonic()
        self._waiting = False
        self._closed = False

    def put(self, image: np.ndarray, wait: bool) -> None:
        """Show a picture; the same one again (a window must be shown it again and again) is no new one."""
        with self._changed:
            if self._picture[1] is image and not wait:
                return
            index = self._picture[0] + 1
            self._picture, self._since = (index, image), time.monotonic()
            self._waiting = wait
            self._changed.notify_all()
            if wait:
                self._changed.wait_for(lambda: self._asked == index)
                self._waiting = False

    def ask(self, index: int) -> None:
        """Go on to the picture after that one; of several who ask for the same, one is enough."""
        with self._changed:
            if index == self._picture[0]:
                self._asked = index
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def jpeg(self, after: int = 0, seconds: float = 0.0) -> tuple[int, bytes] | None:
        """Return the newest picture's number and JPEG, once it is newer than `after` or that time is over.

        Number 0 and no JPEG where there is no picture yet; None at the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._picture[0] > after or self._closed, seconds)
            if self._closed:
                return None
        with self._encoding:
            index, image = self._picture
            if image is not None and self._encoded[0] != index:
                self._encoded = index, _encode(image)
            return self._encoded

    @contextmanager
    def viewer(self, name: str) -> Iterator[bool]:
        """Yield whether there is room for one more viewer, and hold its place."""
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
        with self._changed:
            return {
                "picture": self._picture[0],
                "seconds": round(time.monotonic() - self._since, 1),  # since it came
                "numbers": self.numbers,
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
