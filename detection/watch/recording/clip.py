"""Clip: the packets of an event as an MP4, cut at key frames and not encoded again."""

import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import ImageError
from detection.video.capture.padded_packet import padded_packet
from detection.video.source_names import reason_of
from detection.watch.recording.packet_ring import PacketRing, StoredPacket, StreamFormat

if TYPE_CHECKING:
    import av


JUMP = 10.0  # seconds from a packet to the next; more is a jump of the stream's clock, and is left out
#: Codecs that browsers play in MP4: all of them the first, most the second.
PLAYABLE = ("h264", "hevc")


class Clip:
    """Clip that is written while its event lasts, beside its final name until it is closed.

    The part of a connection ends the clip: what comes after a loss of signal has another format and clock.
    """

    def __init__(self, path: Path, ring: PacketRing, start: float) -> None:
        """Begin at the last key frame at or before a time on the ring's clock; `OSError` where the folder fails."""
        self._path, self._ring = path, ring
        self._next = ring.start(start)
        self._output: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._format: StreamFormat | None = None
        self._base: int | None = None  # timestamp at which the clip begins
        self._last = -1  # last decoding timestamp written
        self._partial: Path | None = None
        self._over = False

    def advance(self, until: float | None = None) -> None:
        """Write the packets that have come, up to a time.

        Raises:
            ImageError: MP4 does not take the stream's codec, or the disk fails; the clip is discarded.
        """
        import av

        try:
            for packet in self._ring.since(self._next):
                if self._over or (until is not None and packet.time > until):
                    break
                self._next = packet.number + 1
                self._write(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            self.discard()
            reason = reason_of(error) if isinstance(error, av.FFmpegError) else str(error)
            raise ImageError(f"{self._path.name}: the clip is not written ({reason})") from None

    def close(self) -> bool:
        """Complete the file under its name; False, and no file, where no packet came."""
        import av

        if self._output is None or self._partial is None:
            return False
        try:
            self._output.close()
            self._partial.replace(self._path)
        except (av.FFmpegError, OSError) as error:
            self._output = None
            self.discard()
            reason = reason_of(error) if isinstance(error, av.FFmpegError) else str(error)
            raise ImageError(f"{self._path.name}: the clip is not written ({reason})") from None
        self._output = None
        return True

    def discard(self) -> None:
        """Remove what is written."""
        import av

        self._over = True
        if self._output is not None:
            with suppress(av.FFmpegError, OSError):  # the file goes anyway
                self._output.close()
            self._output = None
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)

    def _write(self, packet: StoredPacket) -> None:
        if self._format is None:
            if not packet.key:
                return
            self._open(packet.format)
        elif packet.format is not self._format:
            self._over = True
            return
        assert self._output is not None and self._stream is not None and self._format is not None
        pts, dts = self._times(packet)
        out = padded_packet(packet.data)
        out.stream, out.time_base = self._stream, self._format.time_base
        out.pts, out.dts, out.is_keyframe = pts, dts, packet.key
        self._output.mux(out)

    def _open(self, form: StreamFormat) -> None:
        import av

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self._path.with_name(f".{self._path.stem}.{secrets.token_hex(4)}{self._path.suffix}")
        # The index at the front: a browser plays before it has all of the file.
        self._output = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._output.add_stream_from_template(form.template)
        if form.codec == "hevc":
            self._stream.codec_context.codec_tag = "hvc1"  # Safari plays no other
        self._format = form

    def _times(self, packet: StoredPacket) -> tuple[int, int]:
        """Timestamps from the clip's begin, that always increase; where the stream states none, by its usual rate."""
        assert self._format is not None
        step = self._format.frame_duration
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            stamp = (self._base or 0) + self._last + step
        if self._base is None:
            self._base = stamp
        dts = stamp - self._base
        if abs(dts - self._last) * self._format.time_base > JUMP:
            self._base = stamp - self._last - step
            dts = self._last + step
        dts = max(dts, self._last + 1)
        self._last = dts
        pts = dts if packet.pts is None else packet.pts - self._base
        return max(pts, dts), dts
