"""Frames of video files and live sources, and the protocols of the sources that yield them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, Self

import numpy as np

from detection.video.sound_track import Sound

FALLBACK_RATE = Fraction(25)  # frames per second, where a source states none


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Frame of a video.

    Attributes:
        index: 0-based.
        time: seconds from the first frame.
        image: (H, W, 3) uint8 RGB, upright.
    """

    index: int
    time: Fraction
    image: np.ndarray


class VideoSource(Protocol):
    """Source of all frames of a video, in order.

    Attributes:
        name: name in results; an address without its password.
        size: (width, height) of every frame.
        rate: frames per second.
        time_base: unit of the frames' times, in seconds.
        frames: number of frames; None where the file does not state it.
        every: with N only frames 0, N, 2 N, ... are yielded.
        sound: reference to the sound beside the frames; None where there is none.

    Iteration raises `ImageError` where reading fails; the message says how many frames were read before.
    """

    name: str
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    frames: int | None
    every: int

    @property
    def sound(self) -> Sound | None: ...

    def __iter__(self) -> Iterator[Frame]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """Frame of a live source.

    Attributes:
        captured: capture time on the clock of `time.monotonic()`; the arrival time where the source states none.
        to_rgb: converts the frame to (H, W, 3) uint8 RGB; not called for frames that are dropped.
        luma: view of the stored frame's brightness, (H, W) uint8, not turned upright; None where there is none that is
            cheaper than RGB.
    """

    captured: float
    to_rgb: Callable[[], np.ndarray]
    luma: Callable[[], np.ndarray] | None = None


@dataclass(slots=True)
class Reception:
    """State of a live source's reception, written by the reading thread.

    Attributes:
        received: time of the last data, on the clock of `time.monotonic()`; a stream may still wait for a key frame.
        damaged: number of frames left out because they, or the frames that they refer to, were damaged.
    """

    received: float
    damaged: int = 0


class Capture(Protocol):
    """Protocol of an open camera or stream, read by one thread."""

    @property
    def reception(self) -> Reception:
        """State of the reception."""

    @property
    def rate(self) -> Fraction | None:
        """Nominal frames per second; None where the source states none."""

    @property
    def recording(self) -> bool:
        """Whether the source is a recording: its end is no loss of the signal."""

    def read(self) -> CapturedFrame | None:
        """Wait for the next frame.

        Returns:
            The frame; None at the end.

        Raises:
            ImageError: the source failed.
        """
        ...

    def close(self) -> None:
        """Release the source; called once, by the reading thread."""
        ...
