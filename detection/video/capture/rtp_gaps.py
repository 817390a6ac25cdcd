"""RTP gaps: packets that an RTSP connection lost, found by RTP's sequence numbers.

FFmpeg joins the fragments of a NAL unit without a look at their sequence numbers, and H.265's decoder accepts most of
the results. `RtpGaps` reads what a camera sends, and adds a NAL unit of its own, of `GAP_MARKS`, where packets are
missing. FFmpeg passes it on as a packet, in its place among the others.
"""

import re
import struct

from detection.video.capture.rtsp_items import DOLLAR, packet

_NAME = b"pelee: packets are missing"
#: Encoding name in SDP (RFC 6184, 7798, 6416) -> payload: a NAL unit of a reserved type; user data of MPEG-4.
_PAYLOADS = {b"H264": b"\x17" + _NAME, b"H265": b"\x5e\x01" + _NAME, b"MP4V-ES": b"\x00\x00\x01\xb2" + _NAME}
#: FFmpeg's codec name -> the packet that FFmpeg makes of the payload.
GAP_MARKS = {
    "h264": b"\x00\x00\x00\x01" + _PAYLOADS[b"H264"],
    "hevc": b"\x00\x00\x00\x01" + _PAYLOADS[b"H265"],
    "mpeg4": _PAYLOADS[b"MP4V-ES"],
}
_RTCP = range(192, 224)  # second byte of RTCP packets, never of RTP packets (RFC 5761, section 4)
_RTP_HEADER = 12  # bytes
_STATUS = re.compile(rb"RTSP/1\.\d (\d{3})")
_ENCODING = re.compile(rb"^a=rtpmap:(\d+) ([^/\s]+)/", re.IGNORECASE | re.MULTILINE)


class RtpGaps:
    """Reader of what a camera sends on an RTSP connection.

    Attributes:
        status: status code of the last response; 0 before the first.
        unmarked: gaps of streams of other codecs.
    """

    def __init__(self) -> None:
        self.status = self.unmarked = 0
        self._marks: dict[int, bytes] = {}  # payload type -> payload of a mark
        self._last: dict[int, int] = {}  # channel -> sequence number

    def mark(self, item: bytes) -> bytes:
        """Read a message or packet of `RtspItems`; return a packet that marks a gap before it, or nothing."""
        if item[0] != DOLLAR:
            self._read_message(item)
            return b""
        _, channel, size = struct.unpack_from(">BBH", item)
        kind = item[5] if size >= _RTP_HEADER else _RTCP.start
        if kind in _RTCP:
            return b""
        number, stamp, source = struct.unpack_from(">HII", item, 6)
        before, self._last[channel] = self._last.get(channel), number
        if before is None or number == before + 1 & 0xFFFF:
            return b""
        payload = self._marks.get(kind & 0x7F)
        if payload is None:
            self.unmarked += 1
            return b""
        return packet(channel, struct.pack(">BBHII", 0x80, kind & 0x7F, number - 1 & 0xFFFF, stamp, source) + payload)

    def _read_message(self, message: bytes) -> None:
        status = _STATUS.match(message)
        if status:
            self.status = int(status[1])
        for kind, encoding in _ENCODING.findall(message):
            payload = _PAYLOADS.get(encoding.upper())
            if payload is not None:
                self._marks[int(kind)] = payload
