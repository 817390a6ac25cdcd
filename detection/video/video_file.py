"""Video file, on disk or at an address: every frame, in order, with its time."""

import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

from data.errors import ImageError
from detection.video.frame_geometry import RgbConverter
from detection.video.frames import FALLBACK_RATE, Frame
from detection.video.sound_track import Sound, open_recording
from detection.video.source_names import display_name, is_address, reason_of

if TYPE_CHECKING:
    import av


SMALL = 1280 * 720  # pixels; one thread decodes these faster than a network on a few cores processes them
FEW_CORES = 4
COVER = 1 << 10  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC
RESTARTING = frozenset({"mpegts", "mpeg", "hls"})
BACK, AHEAD = 1, 10  # seconds from a frame to the next, in those formats; others are a restart of the timestamps
STATING = frozenset({"matroska", "webm"})  # state their duration, and no number of frames
SHORT = 1  # seconds by which such a file may end before
DAMAGED = "the file is cut off or damaged"


class VideoFile:
    """Video file decoded by FFmpeg through PyAV: upright frames in RGB, with their own times; a `VideoSource`.

    Damage does not end it: frames that cannot be decoded, or that the decoder marks as damaged, are left out, and
    iteration ends with an `ImageError` that says how many.

    Attributes:
        every: with N only frames 0, N, 2 N, ... are yielded.
        sound: reference to the sound beside the frames; None where there is none.
    """

    every = 1

    def __init__(self, path: str | Path) -> None:
        """Open a file or the address of a recording, and decode its first frame; `ImageError` where there is none."""
        import av

        self.name = name = display_name(str(path))
        if not is_address(str(path)) and not Path(path).is_file():
            raise ImageError(f"{path}: no such video file")
        try:
            self._container = open_recording(str(path))
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{name}: is no video that can be read ({reason_of(error)})") from None
        try:
            # The cover of an album is a video stream of one image, and may be the first one.
            stream = self._container.streams.best("video")
            if not isinstance(stream, av.VideoStream) or stream.disposition & COVER:
                raise ImageError(f"{name}: holds no video stream")
            self._stream = stream
            self._stream.thread_type = "AUTO"
            context = self._stream.codec_context
            if context.width * context.height <= SMALL and (os.cpu_count() or 1) <= FEW_CORES:
                context.thread_count = 1  # more would only take turns with the network's
            self._decoded = self._decode()
            self._first = next((frame for frame in self._decoded if frame is not None), None)
            if self._first is None:
                raise ImageError(f"{name}: the video holds no frame")
        except BaseException:
            self._container.close()
            raise
        self._converter = RgbConverter(self._stream.sample_aspect_ratio)
        self.size = self._converter.upright_size(self._first)
        self.rate = self._stream.average_rate or self._stream.guessed_rate or FALLBACK_RATE
        self.time_base = self._stream.time_base or 1 / self.rate
        self.frames = self._stream.frames or None
        first = self._first
        start = first.pts * first.time_base if first.pts is not None and first.time_base else Fraction(0)
        self.sound = Sound(str(path), start) if self._container.streams.audio else None
        # Formats whose timestamps may start anew, as where recordings were concatenated.
        self._restarts = not RESTARTING.isdisjoint(self._container.format.name.split(","))

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, once."""
        begin = last = Fraction(-1)
        offset = Fraction(0)
        for index, frame in enumerate(chain([self._first], self._decoded)):
            if frame is None:
                continue
            stamp = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            now = None if stamp is None else stamp + offset
            if index == 0:
                begin = last = now or Fraction(0)
            elif self._restarts and now is not None and not -BACK <= now - last <= AHEAD:
                offset += last + 1 / self.rate - now
                last = last + 1 / self.rate
            elif now is None or now <= last:  # a wrong or missing timestamp: one frame later
                last = last + 1 / self.rate
            else:
                last = now
            if index % self.every == 0:
                yield Frame(index, last - begin, self._converter.convert(frame, self.size))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._decoded.close()
        self._container.close()

    def _decode(self) -> "Generator[av.VideoFrame | None, None, None]":
        """Yield decoded frames, and None for damaged ones; raise `ImageError` at the end where frames are missing."""
        import av

        count = lost = 0
        stated, end = self._stated_end(), Fraction(0)  # seconds; by the file, and of the packets of all streams
        reason: str | None = None
        packets = self._container.demux()  # of every stream: a file that was cut off may end inside its sound
        try:
            for packet in chain(packets, [None]):
                if packet is not None and packet.is_corrupt:
                    reason = DAMAGED
                if stated and packet is not None and packet.pts is not None and packet.time_base is not None:
                    end = max(end, packet.pts * packet.time_base)
                if packet is not None and packet.stream is not self._stream:
                    continue
                try:
                    frames = self._stream.decode(packet)
                except av.EOFError:
                    continue
                except av.FFmpegError as error:
                    reason, frames = reason or reason_of(error), []
                    lost += count > 0  # a recording may begin between two key frames
                for frame in frames:
                    damaged = frame.is_corrupt
                    count, lost = count + (not damaged), lost + damaged
                    yield None if damaged else frame
        except (av.FFmpegError, OSError) as error:
            reason = reason_of(error)
        total = max(self._stream.frames, count + lost)
        if lost or (reason is not None and (total > count or count == 0)):
            said = f" of {total}" if self._stream.frames or lost else ""
            raise ImageError(f"{self.name}: only {count}{said} frames could be read ({reason or DAMAGED})")
        if stated is not None and end + SHORT < stated:
            raise ImageError(
                f"{self.name}: only {count} frames could be read, up to {float(end):.1f} of {float(stated):.1f} s "
                f"({reason or DAMAGED})"
            )

    def _stated_end(self) -> Fraction | None:
        """Time in seconds at which the file says that it ends; None where it does not say it."""
        import av

        container = self._container
        if STATING.isdisjoint(container.format.name.split(",")) or container.duration is None:
            return None
        return Fraction((container.start_time or 0) + container.duration, av.time_base)
