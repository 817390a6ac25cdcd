"""Where pictures come from: what the user names, told apart; and the frames that a file of them yields."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Protocol, Self
from urllib.parse import urlsplit

import numpy as np

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
FALLBACK_RATE = Fraction(25)  # frames a second, where a source does not say
STDIN = "-"
DEVICE = re.compile(r"cam\d+|/dev/video\d+")
ADDRESS = re.compile(r"(rtsps?|rtmps?|https?|tcp|udp)://.+", re.IGNORECASE)


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


def open_source(text: str) -> VideoSource:
    """Open a video file, by its path or the http:// address where it lies; `ImageError` where that fails."""
    from detection.video.files import VideoFile

    return VideoFile(text)


def is_live(text: str) -> bool:
    """Whether it names what does not wait: a camera, a stream, the test pattern.

    A recording at an http:// address, by its suffix, is a file.
    """
    from detection.video.pattern import is_pattern

    return DEVICE.fullmatch(text) is not None or is_pattern(text) or (is_address(text) and not _is_recording(text))


def is_address(text: str) -> bool:
    """Whether it is an address on the network, live or not."""
    return ADDRESS.fullmatch(text) is not None


def display_name(text: str) -> str:
    """Return an address without user, password and query, which may hold a key; anything else as it is.

    A password may hold any sign, so that everything up to the last @ is left out, wherever that stands.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    _, at, place = rest.rpartition("@")
    return f"{scheme}://{re.split('[?#&;=]' if at else '[?#]', place)[0]}"


def reason_of(error: Exception) -> str:
    """Return FFmpeg's words without number, file and address."""
    import av

    if isinstance(error, av.ExitError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _is_recording(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and PurePosixPath(parts.path).suffix.lower() in VIDEO_SUFFIXES
