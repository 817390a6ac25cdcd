"""Packet ring: the last seconds of a stream as it came, for clips that begin before their event.

Packets are kept as they are; nothing is decoded or encoded again.
"""

import io
import re
import threading
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av


LARGEST = 128 << 20  # bytes of a ring
SLACK = 6.0  # seconds that are kept beyond those asked for: a clip takes packets later (`recorder.LAG`)
HEAD = 4096  # bytes of a packet in which its first slice begins: before it are parameter sets and messages
NAL = re.compile(rb"\x00\x00\x01(.)(.?)", re.DOTALL)
_H264_RANDOM = frozenset({5, 7})  # IDR slice, sequence parameter set (ITU-T H.264, table 7-1)
_HEVC_RANDOM = frozenset({*range(16, 22), 33})  # random access slices, sequence parameter set (ITU-T H.265, table 7-1)
_VOP = 0xB6  # frame of MPEG-4 (ISO/IEC 14496-2, table 6-3)


class StreamFormat:
    """Format of a stream's packets: a template for the stream of a clip.

    Attributes:
        time_base: unit of the packets' times in seconds.
        codec: FFmpeg's name.
        frame_duration: usual duration of a frame in that unit, at least 1.
    """

    def __init__(self, stream: "av.VideoStream") -> None:
        """Copy the format; the stream is not needed any more."""
        import av

        self.time_base = stream.time_base or Fraction(1, 90_000)
        self.codec = stream.codec_context.name
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.frame_duration = max(1, round(1 / (rate * self.time_base)))
        extradata = bytes(stream.codec_context.extradata or b"")
        self._start_codes = extradata[:1] != b"\x01"  # else lengths stand before the NAL units (ISO/IEC 14496-15)
        self._holder = av.open(io.BytesIO(), "w", format="matroska")
        self.template = self._holder.add_stream_from_template(stream)

    def is_key(self, packet: "av.Packet", data: bytes) -> bool:
        """Whether decoding can begin at a packet; the demuxers of live streams do not say so."""
        if self.codec not in ("h264", "hevc", "mpeg4") or not self._start_codes:
            return packet.is_keyframe
        for found in NAL.finditer(data[:HEAD]):
            first, second = found[1][0], found[2][:1]
            if self.codec == "h264" and first & 31 in _H264_RANDOM:
                return True
            if self.codec == "hevc" and first >> 1 & 63 in _HEVC_RANDOM:
                return True
            if self.codec == "mpeg4" and first == _VOP:
                return bool(second) and second[0] >> 6 == 0
        return False


@dataclass(frozen=True, slots=True, eq=False)
class StoredPacket:
    """Packet of a ring.

    Attributes:
        number: 0-based, among all of the camera.
        time: of its arrival, on the clock of `time.monotonic()`.
        data: coded frame.
        pts, dts: in the format's time base; None where the stream states none.
        key: decoding can begin here.
        format: the same object for all packets of one connection.
    """

    number: int
    time: float
    data: bytes
    pts: int | None
    dts: int | None
    key: bool
    format: StreamFormat


class PacketRing:
    """Last packets of a camera; one thread adds them, others read."""

    def __init__(self, seconds: float) -> None:
        """Keep at least these seconds, from a key frame on; fewer where they are more than `LARGEST` bytes."""
        self._seconds = seconds + SLACK
        self._packets: deque[StoredPacket] = deque()
        self._keys: deque[tuple[float, int]] = deque()  # time and number of the key frames in the ring
        self._bytes = self._count = 0
        self._stream: object = None
        self._format: StreamFormat | None = None
        self._lock = threading.Lock()

    def add(self, packet: "av.Packet", stream: "av.VideoStream", time: float) -> None:
        """Append a packet that arrived at a time; a new stream begins anew."""
        data = bytes(packet)
        if stream is not self._stream or self._format is None:
            self._stream, self._format = stream, StreamFormat(stream)
        key = self._format.is_key(packet, data)
        with self._lock:
            stored = StoredPacket(self._count, time, data, packet.pts, packet.dts, key, self._format)
            self._count += 1
            self._packets.append(stored)
            self._bytes += len(data)
            if key:
                self._keys.append((time, stored.number))
            self._drop(time)

    def start(self, time: float) -> int:
        """Number of the key frame at which a clip from that time begins; of the next packet where there is none."""
        with self._lock:
            numbers = [number for moment, number in self._keys if moment <= time]
            if numbers:
                return numbers[-1]
            return self._keys[0][1] if self._keys else self._count

    def since(self, number: int) -> list[StoredPacket]:
        """Packets from a number on that are still there."""
        with self._lock:
            first = self._packets[0].number if self._packets else self._count
            skipped = max(0, number - first)
            return [self._packets[index] for index in range(skipped, len(self._packets))]

    @property
    def size(self) -> int:
        """Bytes in the ring."""
        return self._bytes

    def _drop(self, now: float) -> None:
        """Drop all before the last key frame that is old enough; whatever it is, where there is too much."""
        while len(self._keys) > 1 and self._keys[1][0] <= now - self._seconds:
            self._keys.popleft()
        keep = self._keys[0][1] if self._keys else 0
        while self._packets and (self._packets[0].number < keep or self._bytes > LARGEST):
            dropped = self._packets.popleft()
            self._bytes -= len(dropped.data)
            if self._keys and self._keys[0][1] == dropped.number:
                self._keys.popleft()
