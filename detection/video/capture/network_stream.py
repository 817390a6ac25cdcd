"""Network stream: a blocking read of one whole frame after the other, for the thread of a live source."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from data.errors import ImageError
from detection.video.capture.access_units import CODECS, AccessUnits
from detection.video.capture.frame_numbers import FrameNumbers
from detection.video.capture.padded_packet import padded_packet
from detection.video.capture.rtsp_relay import RtspRelay
from detection.video.capture.stream_clock import Clock
from detection.video.frame_geometry import RgbConverter, luma_of
from detection.video.frames import CapturedFrame, Reception
from detection.video.source_names import display_name, reason_of, stream_address

if TYPE_CHECKING:
    import av

    PacketTap = Callable[[av.Packet, av.VideoStream], None]


OPEN_TIMEOUT = 5.0  # seconds
READ_TIMEOUT = 20.0  # seconds; the watchdog abandons a stream long before, this ends the abandoned thread
ANALYSE = 1_000_000  # microseconds of a stream that FFmpeg may read before the first frame; its default is 5 s
PROBE = "32"  # bytes that FFmpeg may read beyond the first image of JPEGs without parts; its minimum
BEHIND, CAUGHT_UP = 1.0, 0.3  # seconds by which decoding lags: key frames only from the first, until the second
PATIENCE = 5.0  # seconds; a lag that key frames do not reduce is a jump of the timestamps
STRICT = 100  # frames from the first error of a strict decoder on, without a whole one: it takes quirks for damage
# FFmpeg's parser, which joins packets to frames, holds each back until the next one begins. MPEG-TS needs no parser: a
# packet is a frame. RTSP has `AccessUnits`.
UNPARSED = ("tcp", "udp", "rtsp", "rtsps")
WHOLE = frozenset({"mpegts", "rtsp"})
FRAGMENTED = frozenset({"mpeg1video", "mpeg2video"})  # over RTSP: left to the parser
# Formats whose timestamps are the camera's. Those of others follow from an assumed frame rate.
STAMPED = frozenset({"mpegts", "rtsp", "flv", "live_flv", "hls", "dash", "matroska", "webm", "mov", "mp4"})
JPEGS = frozenset({"mpjpeg", "mjpeg"})
BURSTS = frozenset({"hls", "dash"})  # arrive in segments of some seconds: paced by their timestamps


class Stream:
    """Stream at a network address, opened by FFmpeg through PyAV; a `Capture`.

    Frames that are damaged, or that refer to damaged ones, are counted and left out: after damage, and after the
    connection, frames are returned from the next key frame on.
    """

    def __init__(self, address: str, on_packet: "PacketTap | None" = None) -> None:
        """Connect and find its video stream; `ImageError`, without the password, where there is none.

        Args:
            address: address on the network, or of a file.
            on_packet: called in `read` with each whole coded frame before it is decoded, and its stream.
        """
        import av

        self._on_packet = on_packet

        self._name = display_name(address)
        scheme = address.partition("://")[0].lower()
        options = {
            "analyzeduration": str(ANALYSE),
            "fpsprobesize": "0",
            "rtsp_flags": "prefer_tcp",
            "allowed_media_types": "video",
        }
        if scheme in UNPARSED:
            options["fflags"] = "noparse+nofillin"
        try:
            self._container, self._relay = _opened(stream_address(address), options)
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
        self._stream = stream = self._container.streams.video[0]
        self.rate = stream.average_rate or stream.guessed_rate
        names = self._container.format.name.split(",")
        # Servers state the length of a file. Some cameras state one for their endless JPEGs, too.
        has_length = scheme in ("http", "https") and JPEGS.isdisjoint(names) and self._container.size > 0
        self.recording = self._container.duration is not None or has_length
        self._stamped = not STAMPED.isdisjoint(names)
        self._paced = self.recording or not BURSTS.isdisjoint(names)
        self._codec = stream.codec_context.name
        self._assembler: AccessUnits | None = None
        self._frame_numbers: FrameNumbers | None = None
        if "rtsp" in names and self._codec in CODECS:
            self._assembler = AccessUnits(self._codec)
        fragments = WHOLE.isdisjoint(names) or ("rtsp" in names and self._codec in FRAGMENTED)
        self._raw = scheme in UNPARSED and fragments
        if self._assembler is not None and self._codec == "h264":
            self._frame_numbers = FrameNumbers(stream.codec_context.extradata)
        self._strict = True
        self._decoder = self._new_decoder()
        self._converter = RgbConverter(stream.sample_aspect_ratio)
        self.reception = Reception(time.monotonic())
        # H.264's decoder waits for a key frame by itself, and finds those of streams that refresh them in parts.
        self._key_needed = self._codec != "h264"
        self._damaged = False  # since the last whole frame
        self._began = False  # there was a whole frame
        self._unmarked = 0  # gaps of the relay's that are counted
        self._failing = 0  # frames from the decoder's first error on, before that
        self._clock = Clock()
        self._frames = self._decode()
        self._closed = threading.Event()

    def read(self) -> CapturedFrame | None:
        """Wait for the next frame."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        base = frame.time_base or self._stream.time_base
        stamp = None if frame.pts is None or base is None else float(frame.pts * base)
        now = time.monotonic()
        if self._paced and stamp is not None:
            self._closed.wait(self._clock.early(stamp, now))
            return CapturedFrame(time.monotonic(), lambda: self._converter.convert(frame), luma_of(frame))
        captured = self._clock.captured(stamp if self._stamped else None, now)
        self._catch_up(now - captured, now)
        return CapturedFrame(captured, lambda: self._converter.convert(frame), luma_of(frame))

    def close(self) -> None:
        """Disconnect."""
        self._closed.set()
        self._container.close()

    def _new_decoder(self) -> "av.VideoCodecContext":
        """Return a decoder of the stream; a strict one raises where it would conceal an error."""
        import av

        described = self._stream.codec_context
        decoder = described
        if self._assembler:
            decoder = av.VideoCodecContext.create(described.name, "r")  # type: ignore[assignment]
        # Threads that decode a frame each hold as many frames back as there are threads.
        decoder.thread_type = "SLICE"
        decoder.thread_count = 1
        if self._assembler:
            decoder.extradata = described.extradata
            decoder.options = {"err_detect": "explode"} if self._strict else {}
        return decoder

    def _renew_decoder(self) -> None:
        """Replace the decoder, but for the frames that it decodes."""
        skipped = self._decoder.skip_frame
        self._decoder = self._new_decoder()
        self._decoder.skip_frame = skipped

    def _decode(self) -> "Iterator[av.VideoFrame]":
        """Yield whole frames; an error of the network ends them."""
        import av

        try:
            for packet in self._packets():
                if self._on_packet is not None and packet is not None and packet.size:
                    self._on_packet(packet, self._stream)
                for frame in self._decoded(packet):
                    if frame.is_corrupt:
                        self._lose()
                    elif frame.key_frame or not self._key_needed:
                        self._key_needed = self._damaged = False
                        self._began = True
                        yield frame
                if self._damaged:
                    self.reception.damaged += 1
                if self._relay is not None:
                    self.reception.damaged += self._relay.unmarked - self._unmarked
                    self._unmarked = self._relay.unmarked
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{self._name}: {reason_of(error)}") from None

    def _decoded(self, packet: "av.Packet | None") -> "list[av.VideoFrame]":
        """Decode a packet that holds a whole frame; None for one that is known to be damaged."""
        import av

        if packet is None:
            self._lose()
            return []
        if self._failing and not self._began:
            self._failing += 1
            if self._failing == STRICT and self._assembler is not None:
                self._strict = False
                self._renew_decoder()
        try:
            return self._decoder.decode(packet)
        except av.EOFError:
            return []
        except av.FFmpegError:
            self._lose()
            self._failing = self._failing or 1
            return []

    def _packets(self) -> "Iterator[av.Packet | None]":
        """Yield packets that hold a whole frame each; None for a damaged one."""

        for packet in self._container.demux(self._stream):
            self.reception.received = time.monotonic()
            if self._raw:
                yield from self._stream.codec_context.parse(memoryview(packet))  # padded, as bytes are not
            elif self._assembler is None:
                yield None if packet.is_corrupt else packet
            else:
                ended = packet.size == 0
                units = self._assembler.flush() if ended else self._assembler.push(bytes(packet), packet.pts)
                for unit in units:
                    gap = self._frame_numbers is not None and self._frame_numbers.gap(unit.data)
                    if gap or unit.after_gap:
                        self._lose()
                    whole = padded_packet(unit.data)
                    whole.pts = unit.pts
                    yield None if unit.damaged else whole
                if ended:
                    yield padded_packet(b"")

    def _lose(self) -> None:
        """Leave frames out until the next key frame."""
        self._damaged = self._began
        if self._assembler is not None and self._decoder.extradata:
            self._renew_decoder()  # a flushed one may return the torn frame later, or the next key frame wrongly
        else:
            self._decoder.flush_buffers()  # keeps parameter sets, which may have come once, in the stream
        self._key_needed = self._codec != "h264"

    def _catch_up(self, lag: float, now: float) -> None:
        """Decode key frames only while decoding is slower than the stream, so that no packets queue up."""
        context = self._decoder
        if context.skip_frame != "NONKEY":
            if lag > BEHIND:
                context.skip_frame = "NONKEY"
                self._behind_since = now
        elif lag < CAUGHT_UP:
            context.skip_frame = "DEFAULT"
        elif now - self._behind_since > PATIENCE:
            context.skip_frame = "DEFAULT"
            self._clock = Clock()


def _opened(address: str, options: dict[str, str]) -> "tuple[av.container.InputContainer, RtspRelay | None]":
    """Open an address, a plain RTSP one through an `RtspRelay` where the camera takes that.

    Where an http server's parts are not as FFmpeg expects them, look for JPEGs among all bytes. FFmpeg wants a boundary
    before the first part, and parts of the type image/jpeg; some cameras send image/jpg.
    """
    import av

    timeout = (OPEN_TIMEOUT, READ_TIMEOUT)
    if address.startswith("rtsp://"):
        relay = RtspRelay(address, OPEN_TIMEOUT)
        try:
            return av.open(relay.address, timeout=timeout, options=options), relay
        except (av.FFmpegError, OSError):
            if not relay.refused:
                raise
    try:
        container = av.open(address, timeout=timeout, options=options)
        if container.format.name != "mpjpeg" or _has_frame(container):
            return container, None
        container.close()
    except av.InvalidDataError:
        if not address.startswith(("http://", "https://")):
            raise
    # The size is in the first image. Without times of frames FFmpeg would wait for `ANALYSE` at an assumed 25 a second.
    options = {**options, "probesize": PROBE}
    container = av.open(address, format="mjpeg", timeout=timeout, options=options)
    if not _has_frame(container):
        container.close()
        raise av.InvalidDataError(0, "Invalid data found when processing input", address)
    return container, None


def _has_frame(container: "av.container.InputContainer") -> bool:
    return bool(container.streams.video and container.streams.video[0].codec_context.width)
