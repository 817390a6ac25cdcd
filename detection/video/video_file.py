"""Video file, on disk or at an address: every frame, in order, with its time."""

import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from data.errors import ImageError
from detection.video.frames import FALLBACK_RATE, Frame
from detection.video.source_names import display_name, is_address, reason_of

if TYPE_CHECKING:
    import av


SMALL = 1280 * 720  # pixels; one thread decodes these faster than a network on a few cores processes them
FEW_CORES = 4
TIMEOUTS = (6.0, 20.0)  # seconds: opening of an address, and one read from it


class VideoFile:
    """Video file decoded by FFmpeg through PyAV: upright frames in RGB, with their own times; a `VideoSource`.

    Attributes:
        every: with N only frames 0, N, 2 N, ... are yielded.
    """

    every = 1

    def __init__(self, path: str | Path) -> None:
        """Open a file or the address of a recording, and decode its first frame; `ImageError` where there is none."""
        import av
        from av.video.reformatter import VideoReformatter

        self.name = name = display_name(str(path))
        self._reformatter = VideoReformatter()  # shared by all frames: it caches the conversion
        remote = is_address(str(path))
        if not remote and not Path(path).is_file():
            raise ImageError(f"{path}: no such video file")
        try:
            self._container = av.open(str(path), timeout=TIMEOUTS) if remote else av.open(f"file:{path}")
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{name}: is no video that can be read ({reason_of(error)})") from None
        try:
            if not self._container.streams.video:
                raise ImageError(f"{name}: holds no video stream")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            context = self._stream.codec_context
            if context.width * context.height <= SMALL and (os.cpu_count() or 1) <= FEW_CORES:
                context.thread_count = 1  # more would only take turns with the network's
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise ImageError(f"{name}: the video holds no frame")
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
            if index % self.every == 0:
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
            reason = reason_of(error)
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


def _upright_size(frame: "av.VideoFrame") -> tuple[int, int]:
    return (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)
