"""Cameras and streams as they come: a blocking read of one frame after the other, for a grabber's thread."""

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from data.errors import ImageError
from detection.video.frames import CapturedFrame
from detection.video.source_names import display_name, reason_of
from detection.video.stream_clock import Clock

if TYPE_CHECKING:
    import av


OPEN_TIMEOUT = 5.0  # seconds: what does not answer until then is given up
READ_TIMEOUT = 20.0  # the watchdog gives a stream up long before; this ends the thread that it leaves behind
ANALYSE = 1_000_000  # microseconds of a stream that FFmpeg may look at before the first frame; 5 s by itself
BEHIND, CAUGHT_UP = 1.0, 0.3  # seconds that decoding lags behind the stream: then only key frames, until
PATIENCE = 5.0  # seconds: what key frames have not caught up by then is no lag, but stamps that jumped
# MPEG-TS and RTSP bring whole pictures; FFmpeg's parser would still hold each back until the next one begins.
WHOLE = frozenset({"mpegts", "rtsp"})
UNPARSED = ("tcp", "udp", "rtsp", "rtsps")
# Those whose frames bear times that are the camera's; others' are made up from a rate that is made up.
STAMPED = frozenset({"mpegts", "rtsp", "flv", "live_flv", "hls", "dash", "matroska", "webm", "mov", "mp4"})
BURSTS = frozenset({"hls", "dash"})  # come in parts of some seconds at once: shown by their own clock


class Stream:
    """An address on the network, opened by FFmpeg through PyAV."""

    def __init__(self, address: str) -> None:
        """Connect and find its video stream; `ImageError`, without the password, where there are none."""
        import av
        from av.video.reformatter import VideoReformatter

        self._name = display_name(address)
        scheme = address.partition("://")[0].lower()
        options = {"analyzeduration": str(ANALYSE), "fpsprobesize": "0", "rtsp_flags": "prefer_tcp"}
        if scheme in UNPARSED:
            options["fflags"] = "noparse+nofillin"
        try:
            self._container = av.open(address, timeout=(OPEN_TIMEOUT, READ_TIMEOUT), options=options)
        except (av.FFmpegError, OSError, ValueError) as error:
            empty = isinstance(error, (av.InvalidDataError, av.EOFError))
            reason = "nothing comes that can be read; is it busy?" if empty else reason_of(error)
            raise ImageError(
                f"{self._name}: the stream does not open ({reason}); check the address, and that a player on this "
                "machine can open it"
            ) from None
        if not self._container.streams.video:
            self._container.close()
            raise ImageError(f"{self._name}: the stream has no video")
        stream = self._container.streams.video[0]
        # Threads that decode a frame each hold as many frames back as there are threads.
        stream.thread_type = "SLICE"
        stream.codec_context.thread_count = 1
        self.rate = stream.average_rate or stream.guessed_rate
        self.recording = self._container.duration is not None
        names = self._container.format.name.split(",")
        self._stamped = not STAMPED.isdisjoint(names)
        self._paced = self.recording or not BURSTS.isdisjoint(names)
        self._raw = scheme in UNPARSED and WHOLE.isdisjoint(names)
        self._reformatter = VideoReformatter()  # one for all frames: each would set up the conversion anew
        self._stream = stream
        self._clock = Clock()
        self._frames = self._decode()
        self._closed = threading.Event()

    def read(self) -> CapturedFrame | None:
        """Wait for the next frame."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        stamp = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        now = time.monotonic()
        if self._paced and stamp is not None:
            self._closed.wait(self._clock.early(stamp, now))
            return CapturedFrame(time.monotonic(), lambda: self._rgb(frame))
        captured = self._clock.captured(stamp if self._stamped else None, now)
        self._catch_up(now - captured, now)
        return CapturedFrame(captured, lambda: self._rgb(frame))

    def close(self) -> None:
        """Hang up."""
        self._closed.set()
        self._container.close()

    def _decode(self) -> "Iterator[av.VideoFrame]":
        """Yield frames; a damaged packet is passed over, an error of the network is the end."""
        import av

        context = self._stream.codec_context
        try:
            for packet in self._container.demux(self._stream):
                for part in context.parse(bytes(packet)) if self._raw else [packet]:
                    try:
                        yield from context.decode(part)
                    except av.EOFError:
                        return
                    except av.FFmpegError:  # one joins in the middle, and networks lose packets
                        continue
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{self._name}: {reason_of(error)}") from None

    def _catch_up(self, lag: float, now: float) -> None:
        """Decode key frames only while decoding is slower than the stream, so that nothing queues up unseen."""
        context = self._stream.codec_context
        if context.skip_frame != "NONKEY":
            if lag > BEHIND:
                context.skip_frame = "NONKEY"
                self._behind_since = now
        elif lag < CAUGHT_UP:
            context.skip_frame = "DEFAULT"
        elif now - self._behind_since > PATIENCE:
            context.skip_frame = "DEFAULT"
            self._clock = Clock()

    def _rgb(self, frame: "av.VideoFrame") -> np.ndarray:
        return self._reformatter.reformat(frame, format="rgb24").to_ndarray()
