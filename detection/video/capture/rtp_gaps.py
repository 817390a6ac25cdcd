"""RTP gaps: packets that an RTSP connection lost, found by RTP's sequence numbers.

FFmpeg joins the fragments of a NAL unit without a look at their sequence numbers, and H.265's decoder accepts most of
the results. `RtpGaps` reads the bytes of a connection and adds a NAL unit of its own, of `GAP_MARKS`, where packets are
missing. FFmpeg passes it on as a packet, in its place among the others.
"""

import re
import struct

_NAME = b"pelee: packets are missing"
#: Encoding name in SDP (RFC 6184, 7798, 6416) -> payload: a NAL unit of a reserved type; user data of MPEG-4.
_PAYLOADS = {b"H264": b"\x17" + _NAME, b"H265": b"\x5e\x01" + _NAME, b"MP4V-ES": b"\x00\x00\x01\xb2" + _NAME}
#: FFmpeg's codec name -> the packet that FFmpeg makes of the payload.
GAP_MARKS = {
    "h264": b"\x00\x00\x00\x01" + _PAYLOADS[b"H264"],
    "hevc": b"\x00\x00\x00\x01" + _PAYLOADS[b"H265"],
    "mpeg4": _PAYLOADS[b"MP4V-ES"],
}
_DOLLAR = 0x24  # first byte of binary data among messages (RFC 2326, section 10.12)
_RTCP = range(192, 224)  # second byte of RTCP packets, never of RTP packets (RFC 5761, section 4)
_RTP_HEADER = 12  # bytes
_LONGEST_MESSAGE = 1 << 18  # bytes
_STATUS = re.compile(rb"RTSP/1\.\d (\d{3})")
_LENGTH = re.compile(rb"^content-length\s*:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
_ENCODING = re.compile(rb"^a=rtpmap:(\d+) ([^/\s]+)/", re.IGNORECASE | re.MULTILINE)


class RtpGaps:
    """Reader of the bytes that a camera sends on an RTSP connection.

    Attributes:
        status: status code of the last response; 0 before the first.
    """

    def __init__(self) -> None:
        self.status = 0
        self._rest = b""
        self._marks: dict[int, bytes] = {}  # payload type -> payload of a mark
        self._last: dict[int, int] = {}  # channel -> sequence number
        self._unreadable = False

    def marked(self, data: bytes) -> bytes:
        """Return the messages and packets that are complete with `data`, with a mark behind each gap.

        From the first byte on that is no RTSP, bytes are returned as they come.
        """
        data = self._rest + data
        pieces, kept, position = [], 0, 0
        while not self._unreadable and position < len(data):
            end = self._end(data, position)
            if end is None:
                break
            if data[position] == _DOLLAR and (mark := self._mark(data, position)):
                pieces += [data[kept:position], mark]
                kept = position
            position = end
        if self._unreadable:
            position = len(data)
        self._rest = data[position:]
        return b"".join([*pieces, data[kept:position]])

    def _end(self, data: bytes, start: int) -> int | None:
        """Return the end of the packet or message at `start`; None where it is not complete."""
        if data[start] == _DOLLAR:
            end = start + 4 + int.from_bytes(data[start + 2 : start + 4], "big")
            return end if start + 4 <= len(data) and end <= len(data) else None
        head = data.find(b"\r\n\r\n", start) + 4
        readable = data[start : start + 1].isalpha()
        if readable and head >= 4:
            length = _LENGTH.search(data, start, head)
            end = head + (int(length[1]) if length else 0)
            if end <= len(data):
                self._read_message(data[start:end])
                return end
        self._unreadable = not readable or len(data) - start > _LONGEST_MESSAGE
        return None

    def _read_message(self, message: bytes) -> None:
        status = _STATUS.match(message)
        if status:
            self.status = int(status[1])
        for kind, encoding in _ENCODING.findall(message):
            payload = _PAYLOADS.get(encoding.upper())
            if payload is not None:
                self._marks[int(kind)] = payload

    def _mark(self, data: bytes, start: int) -> bytes:
        """Return a packet that marks a gap before the one at `start`; nothing where there is no gap."""
        _, channel, size = struct.unpack_from(">BBH", data, start)
        kind = data[start + 5] if size >= _RTP_HEADER else _RTCP.start
        payload = self._marks.get(kind & 0x7F)
        if kind in _RTCP or payload is None:
            return b""
        number, stamp, source = struct.unpack_from(">HII", data, start + 6)
        before, self._last[channel] = self._last.get(channel), number
        if before is None or number == before + 1 & 0xFFFF:
            return b""
        head = struct.pack(">BBHII", 0x80, kind & 0x7F, number - 1 & 0xFFFF, stamp, source)
        return struct.pack(">BBH", _DOLLAR, channel, len(head) + len(payload)) + head + payload
