"""Test pattern: a synthetic live source whose frames contain their number."""

import threading
import time
from fractions import Fraction

import cv2
import numpy as np

from data.errors import SettingsError
from detection.video.frames import CapturedFrame, Reception
from detection.video.source_names import PATTERN

BITS = 32
BARS = ((192, 192, 192), (192, 192, 0), (0, 192, 192), (0, 192, 0), (192, 0, 192), (192, 0, 0), (0, 0, 192))
WIDTH, HEIGHT, RATE = 640, 480, 30


def draw_number(image: np.ndarray, number: int) -> None:
    """Draw a number into the bottom eighth of an (H, W, 3) uint8 image: 32 blocks, black or white, lowest bit first."""
    height, width = image.shape[:2]
    bits = (number >> np.arange(BITS)) & 1
    image[height - height // 8 :] = (255 * bits[np.arange(width) * BITS // width, None]).astype(np.uint8)


def read_number(image: np.ndarray) -> int:
    """Return the number that `draw_number` drew, from the centers of its blocks."""
    height, width = image.shape[:2]
    blocks = image[height - height // 16, (2 * np.arange(BITS) + 1) * width // (2 * BITS), 1]
    return int(((blocks > 127).astype(np.int64) << np.arange(BITS)).sum())


class Pattern:
    """Test pattern of color bars, a moving box and the frame's number; a `Capture`."""

    recording = False

    def __init__(self, text: str) -> None:
        """Parse "test:WIDTHxHEIGHT@RATE"; `SettingsError` on sizes and rates out of range."""
        found = PATTERN.fullmatch(text)
        assert found is not None
        width, height, rate = (int(part or usual) for part, usual in zip(found.groups(), (WIDTH, HEIGHT, RATE)))  # noqa: B905
        if not (BITS <= width <= 7680 and BITS <= height <= 4320 and 1 <= rate <= 1000):
            raise SettingsError(f"{text}: expected 32x32 to 7680x4320 pixels, and 1 to 1000 frames per second")
        self.rate = Fraction(rate)
        self._bars = np.repeat(np.array(BARS, np.uint8)[np.arange(width) * len(BARS) // width][None], height, axis=0)
        self._begin = time.monotonic()
        self.reception = Reception(self._begin)
        self._next = 0
        self._closed = threading.Event()

    def read(self) -> CapturedFrame | None:
        """Wait for the time of the next frame; frames whose time has passed are skipped, as by a camera."""
        elapsed = time.monotonic() - self._begin
        self._next = max(self._next, int(elapsed * self.rate))
        if self._closed.wait(max(0.0, float(self._next / self.rate) - elapsed)):
            return None
        number = self._next
        self._next += 1
        self.reception.received = time.monotonic()
        return CapturedFrame(self.reception.received, lambda: self.image(number))

    def image(self, number: int) -> np.ndarray:
        """Return frame `number`, (H, W, 3) uint8 RGB."""
        image = self._bars.copy()
        height, width = image.shape[:2]
        side = height // 4
        x, y = (4 * number) % max(1, width - side), (2 * number) % max(1, height - height // 8 - side)
        cv2.rectangle(image, (x, y), (x + side, y + side), (255, 255, 255), cv2.FILLED)
        draw_number(image, number)
        return image

    def close(self) -> None:
        """End a `read` that waits."""
        self._closed.set()
