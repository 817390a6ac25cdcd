"""What a source gives: a video file its frames, one after the other; a live source what it shows just now."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, Self

import numpy as np

FALLBACK_RATE = Fraction(25)  # frames a second, where a source does not say


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video: its 0-based index, its time from the start in seconds, (H, W, 3) uint8 RGB, upright."""

    index: int
    time: Fraction
    image: np.ndarray


class VideoSource(Protocol):
    """What yields frames, and says beforehand what they are like.

    Attributes:
        name: what to call it in results; an address without its password.
        size: (width, height) of every frame.
        rate: frames a second.
        time_base: the unit of its frames' times, in seconds.
        frames: how many there are, where that is known.

    Iterating raises `ImageError` where a frame fails; it says how many came before.
    """

    name: str
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    frames: int | None

    def __iter__(self) -> Iterator[Frame]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One frame of a live source.

    captured: when it was taken, `time.monotonic()`, as far as that is known; picture: its (H, W, 3) uint8 RGB, which
    costs time that a frame which nobody looks at need not take.
    """

    captured: float
    picture: Callable[[], np.ndarray]


class Capture(Protocol):
    """An open camera or stream, read by one thread."""

    @property
    def rate(self) -> Fraction | None:
        """Frames a second that it claims; None where it claims nothing."""

    @property
    def recording(self) -> bool:
        """Whether its end is an end, and no loss of the signal."""

    def read(self) -> CapturedFrame | None:
        """Wait for the next frame; None at the end, `ImageError` where it fails."""
        ...

    def close(self) -> None:
        """Let the source go; called by the reading thread, once."""
        ...
