"""Access units of H.264, H.265 and MPEG-4 from the packets of FFmpeg's RTP demuxer.

RTP carries single NAL units and fragments of them (RFC 6184, RFC 7798); FFmpeg passes each on as a packet of its own. A
decoder needs the packets of one access unit (the coded frame) together: a slice alone decodes to a torn frame. FFmpeg's
parser joins them, but recognizes the end of a unit by the start of the next one, one frame later. RTP marks the end by
a bit that FFmpeg does not pass on, so `AccessUnits` predicts the end, and predicts only what has held for the stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from detection.video.capture.rtp_gaps import GAP_MARKS

START_CODE = b"\x00\x00\x01"
LEARN = 16  # units in a row whose end was predicted correctly, before a prediction counts
RELEARN = 8  # a wrong prediction multiplies this number
CODECS = frozenset({"h264", "hevc", "mpeg4"})
_RECOVERY = 6  # payload type of a recovery point, where a stream that refreshes its frames in parts is whole again
_HEADER = 5  # bytes that the first fragment of a NAL unit has more than the others, about
_VOP = 0xB6  # start code of a frame of MPEG-4 (ISO/IEC 14496-2, table 6-3)
MARGIN = 24  # bytes by which a packet is shorter than a full one: more than the headers' differences


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """Coded frame.

    Attributes:
        data: NAL units in Annex B format; empty for the tail of a unit that was ended too early.
        pts: timestamp of its first packet, in the stream's time base.
        damaged: a part is known to be missing.
        after_gap: packets before it are known to be missing, of frames to which it may refer.
    """

    data: bytes
    pts: int | None
    damaged: bool = False
    after_gap: bool = False


def without_messages(unit: bytes, codec: str) -> bytes:
    """Leave out the SEI messages of a unit in Annex B format, but for recovery points (ITU-T H.264, annex D).

    No other message is needed for decoding, some cameras write them wrongly, and a strict decoder refuses the frame.
    """
    position = unit.find(START_CODE)
    if codec == "mpeg4" or position < 0:
        return unit
    kept = [unit[:position]]
    while position >= 0:
        following = unit.find(START_CODE, position + 3)
        nal = unit[position : len(unit) if following < 0 else following]
        kind = (nal[3] >> 1 & 63 if codec == "hevc" else nal[3] & 31) if len(nal) > 3 else 0
        if kind not in ((39, 40) if codec == "hevc" else (6,)) or (codec == "h264" and _RECOVERY in _messages(nal)):
            kept.append(nal)
        position = following
    return b"".join(kept)


def _messages(nal: bytes) -> set[int]:
    """Return the payload types of an SEI NAL unit with its start code."""
    kinds, position = set(), 4
    while position < len(nal) - 2:
        kind = size = 0
        while position < len(nal) and nal[position] == 0xFF:
            kind, position = kind + 255, position + 1
        kind, position = kind + nal[position] if position < len(nal) else -1, position + 1
        while position < len(nal) and nal[position] == 0xFF:
            size, position = size + 255, position + 1
        size, position = size + nal[position] if position < len(nal) else 0, position + 1
        kinds.add(kind)
        position += size
    return kinds


@dataclass(slots=True)
class _OpenUnit:
    """Unit whose packets are being collected.

    predicted: its end was predicted; correct: no part of a slice followed; ended: it was yielded at that end;
    gap_behind: packets behind it are missing.
    """

    parts: list[bytes] = field(default_factory=list)
    pts: int | None = None
    slices: int = 0
    in_slice: bool = True  # the last NAL unit that began is a slice, and no SEI message or parameter set
    short: bool = False  # the last packet is no full one
    damaged: bool = False
    after_gap: bool = False
    gap_behind: bool = False
    predicted: bool = False
    correct: bool = True
    ended: bool = False

    def whole(self, codec: str) -> AccessUnit:
        return AccessUnit(without_messages(b"".join(self.parts), codec), self.pts, self.damaged, self.after_gap)

    def lose(self) -> None:
        """Note that packets are missing behind those so far."""
        if self.slices:
            self.damaged = self.gap_behind = True
        else:
            self.after_gap = True


class AccessUnits:
    """Assembler of access units.

    All packets of a unit have one timestamp. The last one is predicted: it completes as many slices as the unit before
    had, and it is no full packet, whereas all but the last fragment of a NAL unit are full.
    """

    def __init__(self, codec: str, learn: int = LEARN) -> None:
        """Set the codec, one of `CODECS`, and the number of units before a prediction counts."""
        self._codec = codec
        self._needed = learn
        self._streak = 0  # units in a row whose end was predicted correctly
        self._full = 0  # bytes of the largest packet without its header
        self._slices_before = 0  # in the last unit
        self._last_pts: int | None = None
        self._unit = _OpenUnit()

    def push(self, data: bytes, pts: int | None) -> Iterator[AccessUnit]:
        """Add a packet; yield the units that it completes.

        Args:
            data: NAL units with start codes, or the continuation of one, or a mark of `GAP_MARKS`.
            pts: timestamp in the stream's time base; None for that of the packet before.
        """
        if data == GAP_MARKS[self._codec]:
            self._unit.lose()
            return
        starts = data.startswith((START_CODE, b"\x00" + START_CODE))
        # A timestamp that changes within a NAL unit comes from the first RTCP report.
        other = pts is not None and pts != self._last_pts
        if other and self._unit.slices and (starts or self._unit.short):
            yield from self.flush()
        if not self._unit.slices:  # parameter sets may have a timestamp of their own
            self._unit.pts = pts
        self._last_pts = self._last_pts if pts is None else pts
        yield from self._add(self._unit, data, starts)

    def flush(self) -> Iterator[AccessUnit]:
        """Yield the unit of the packets so far, and begin a new one."""
        unit, self._unit = self._unit, _OpenUnit(after_gap=self._unit.gap_behind)
        if unit.predicted:
            self._streak = self._streak + 1 if unit.correct else 0
            if unit.ended and not unit.correct:
                self._needed *= RELEARN
        if unit.slices and not unit.ended:
            yield unit.whole(self._codec)
        self._slices_before = unit.slices

    def _add(self, unit: _OpenUnit, data: bytes, starts: bool) -> Iterator[AccessUnit]:
        slices, first = self._scan(data) if starts else (0, False)
        fragment = slices > 0 or (not starts and unit.in_slice)
        unit.in_slice = slices > 0 if starts else unit.in_slice
        if fragment and not unit.slices and not first:
            unit.damaged = True  # the first slice of the frame, or its first fragment, is missing
            slices = max(slices, 1)
        unit.slices += slices
        body = len(data) - _HEADER * starts
        self._full = max(self._full, body)
        unit.short = body < self._full - MARGIN
        if fragment and unit.predicted:
            if unit.ended and unit.correct:
                yield AccessUnit(b"", unit.pts, damaged=True)
            unit.correct = False
        if unit.ended:
            return
        unit.parts.append(data)
        if fragment and unit.short and unit.slices == self._slices_before and not unit.predicted:
            unit.predicted = True
            if self._streak >= self._needed:
                yield unit.whole(self._codec)
                unit.ended = True

    def _scan(self, data: bytes) -> tuple[int, bool]:
        """Return the number of slices in a packet, and whether the first of them is the frame's first."""
        slices, first = 0, False
        position = data.find(START_CODE)
        while 0 <= position < len(data) - 5:
            header = data[position + 3]
            if self._codec == "hevc":
                is_slice, begins = (header >> 1 & 63) < 32, data[position + 5] & 0x80  # first_slice_segment_in_pic_flag
            elif self._codec == "h264":
                is_slice, begins = 1 <= header & 31 <= 5, data[position + 4] & 0x80  # first_mb_in_slice = 0 as "1"
            else:
                is_slice, begins = header == _VOP, 1
            if is_slice and slices == 0:
                first = bool(begins)
            slices += is_slice
            position = data.find(START_CODE, position + 3)
        return slices, first
