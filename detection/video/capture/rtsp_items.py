"""RTSP items: messages and binary packets of the bytes of a connection (RFC 2326, sections 4 and 10.12)."""

import re
import struct

DOLLAR = 0x24  # first byte of a packet
_LONGEST_MESSAGE = 1 << 18  # bytes
_BEGIN = re.compile(rb"[A-Z_]{1,16}(?:[ /]|\Z)")  # of a response or a request, as far as it has come
_LINE_ENDS = re.compile(rb"[\r\n]+")
_HEAD_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"^content-length\s*:\s*(\d+)", re.IGNORECASE | re.MULTILINE)


def packet(channel: int, content: bytes) -> bytes:
    """Return a packet of a channel: an RTP or RTCP packet with the header of 4 bytes."""
    return struct.pack(">BBH", DOLLAR, channel, len(content)) + content


class RtspItems:
    """Splitter of one direction of a connection."""

    def __init__(self) -> None:
        self._rest = b""
        self._unreadable = False

    def split(self, data: bytes) -> list[bytes]:
        """Return the messages and packets that are complete with `data`, and line ends between them.

        From the first byte on that is no RTSP, bytes are returned as they come.
        """
        data, items, position = self._rest + data, [], 0
        while not self._unreadable and position < len(data):
            end = self._end(data, position)
            if end is None:
                break
            items.append(data[position:end])
            position = end
        self._rest = data[position:]
        if self._unreadable and self._rest:
            items.append(self._rest)
            self._rest = b""
        return items

    def _end(self, data: bytes, start: int) -> int | None:
        """Return the end of the item at `start`; None where it is not complete."""
        if data[start] == DOLLAR:
            end = start + 4 + int.from_bytes(data[start + 2 : start + 4], "big")
            return end if start + 4 <= len(data) and end <= len(data) else None
        if between := _LINE_ENDS.match(data, start):
            return between.end()
        head = _HEAD_END.search(data, start)
        readable = _BEGIN.match(data, start) is not None
        if readable and head is not None:
            length = _LENGTH.search(data, start, head.end())
            end = head.end() + (int(length[1]) if length else 0)
            if end <= len(data):
                return end
        self._unreadable = not readable or len(data) - start > _LONGEST_MESSAGE
        return None
