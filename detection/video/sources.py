"""Where frames come from: a video file, a camera, an address on the network."""

import os
import re
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit

import numpy as np

from data.errors import ImageError

if TYPE_CHECKING:
    import av

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
FALLBACK_RATE = Fraction(25)  # frames a second, where a source does not say
SMALL = 1280 * 720  # pixels: one thread decodes these faster than a network on a few cores looks at them
FEW_CORES = 4
CAMERA_TIMEOUT = 10_000  # milliseconds until an address that does not answer is given up


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
        rate: frames a second; a camera's is what it claims.
        time_base: the unit of its frames' times, in seconds.
        frames: how many there are, where that is known; None for a camera.

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
    """Open "cam0" (cameras by number), an rtsp:// or http:// address, or a file; `ImageError` where that fails."""
    return Camera(text) if is_camera(text) else VideoFile(text)


def is_camera(text: str) -> bool:
    """Whether it names a camera or an address rather than a file."""
    return re.fullmatch(r"cam\d+|(rtsps?|https?)://.+", text) is not None


def display_name(text: str) -> str:
    """Return an address without user, password and query, which may hold a key; anything else as it is."""
    if "://" not in text:
        return text
    parts = urlsplit(text)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class VideoFile:
    """A video file, decoded by FFmpeg through PyAV: frames upright, at their own times, in RGB of the right matrix."""

    def __init__(self, path: str | Path) -> None:
        """Open the file and decode its first frame; `ImageError` where there is none."""
        import av
        from av.video.reformatter import VideoReformatter

        self.name = str(path)
        self._reformatter = VideoReformatter()  # one for all frames: each would set up the conversion anew
        if not Path(path).is_file():
            raise ImageError(f"{path}: no such video file")
        try:
            self._container = av.open(f"file:{path}")
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{path}: is no video that can be read ({_reason(error)})") from None
        try:
            if not self._container.streams.video:
                raise ImageError(f"{path}: holds no video stream")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            context = self._stream.codec_context
            if context.width * context.height <= SMALL and (os.cpu_count() or 1) <= FEW_CORES:
                context.thread_count = 1  # more would only take turns with the network's
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise ImageError(f"{path}: the video holds no frame")
        except BaseException:
            self._container.close()
            raise
        self.size = _upright_size(self._first)
        self.rate = self._stream.average_rate or self._stream.guessed_rate or FALLBACK_RATE
        self.time_base = self._stream.time_base or 1 / self.rate
        self.frames = self._stream.frames or None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, once."""
        begin = last = Fraction(-1)
        frame = self._first
        index = 0
        while frame is not None:
            now = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            if index == 0:
                begin = last = now or Fraction(0)
            elif now is None or now <= last:  # a broken or missing time: one frame later
                last = last + 1 / self.rate
            else:
                last = now
            yield Frame(index, last - begin, self._upright(frame))
            index += 1
            frame = next(self._decoded, None)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._decoded.close()
        self._container.close()

    def _upright(self, frame: "av.VideoFrame") -> np.ndarray:
        """Return a frame as (height, width, 3) uint8 RGB, turned as its file says, all of one size."""
        turns = round(frame.rotation / 90) % 4  # rotation is in degrees, counterclockwise, as is rot90
        width, height = self.size if turns % 2 == 0 else self.size[::-1]
        image = self._reformatter.reformat(frame, width, height, "rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(image, turns))

    def _decode(self) -> "Generator[av.VideoFrame, None, None]":
        """Yield decoded frames; a damaged packet ends them with an error, after what was whole before it."""
        import av

        count = 0
        reason: str | None = None
        try:
            # Every stream's packets are looked at: a file that was cut off may end inside one of its sound.
            for packet in self._container.demux():
                if packet.is_corrupt:
                    reason = "the file is cut off or damaged there"
                    break
                if packet.stream is self._stream:
                    for frame in self._stream.decode(packet):
                        yield frame
                        count += 1
        except (av.FFmpegError, OSError) as error:
            reason = _reason(error)
        if reason is None:
            return
        try:
            for frame in self._stream.decode(None):  # what the decoder still held back
                yield frame
                count += 1
        except (av.FFmpegError, OSError):
            pass
        total = f" of {self._stream.frames}" if self._stream.frames else ""
        raise ImageError(f"{self.name}: only {count}{total} frames could be read ({reason})")


class Camera:
    """A camera by number or an address on the network, opened by OpenCV; every frame, in order, at the time it came."""

    def __init__(self, address: str) -> None:
        """Open it and read its first frame; `ImageError` where it does not answer."""
        # Both speak on stderr by themselves about what becomes one line here.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        import cv2

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self.name = display_name(address)
        self.time_base = Fraction(1, 1000)
        number = re.fullmatch(r"cam(\d+)", address)
        if number:
            self._capture = cv2.VideoCapture(int(number[1]))
            hint = "is it plugged in, free, and are you allowed to use it? cam0 is the first camera"
        else:
            timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, CAMERA_TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, CAMERA_TIMEOUT]
            self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
            hint = "check the address, and that a player on this machine can open it"
        first = self._read() if self._capture.isOpened() else None
        if first is None:
            self._capture.release()
            raise ImageError(f"{self.name}: the camera does not open; {hint}")
        self._first = first
        self.size = (first.shape[1], first.shape[0])
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frames = count if count > 0 else None  # an address may be that of a recording
        claimed = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(claimed).limit_denominator(1001) if 1 <= claimed <= 240 else FALLBACK_RATE

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the camera stops, which is an error unless it is a recording's end."""
        begin = time.monotonic()
        image: np.ndarray | None = self._first
        index = 0
        while image is not None:
            yield Frame(index, Fraction(round((time.monotonic() - begin) * 1000), 1000), image)
            index += 1
            image = self._read()
        if self.frames is None or index < self.frames:
            raise ImageError(f"{self.name}: the camera stopped after {index} frames")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let the camera go."""
        self._capture.release()

    def _read(self) -> np.ndarray | None:
        """Return the next frame as RGB of the first one's size, None where there is none."""
        import cv2

        there, image = self._capture.read()
        if not there or image is None or image.size == 0:
            return None
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _upright_size(frame: "av.VideoFrame") -> tuple[int, int]:
    return (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)


def _reason(error: Exception) -> str:
    """Return FFmpeg's words without number and file."""
    return str(getattr(error, "strerror", None) or error)
