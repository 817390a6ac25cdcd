"""JPEG markers (ITU-T T.81, annex B): the length of an image in a stream. Nothing is decoded."""

import re
from collections.abc import Callable

START, END = b"\xff\xd8", b"\xff\xd9"  # SOI, EOI
_START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = 0xD8, 0xD9, 0xDA
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length: TEM, RST0 to RST7
# A marker within a scan's data, where FF 00 is a stuffed byte, FF FF a fill byte and FF D0 to FF D7 are restarts.
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def jpeg_length(data: bytearray, need: Callable[[int], None]) -> int:
    """Return the number of bytes of the JPEG that `data` begins with.

    Segments are skipped by their lengths (a thumbnail in one is a JPEG, too), the data of scans up to the next marker.
    An image without an end, as some cameras send it, ends where the next one begins.

    Args:
        data: begins with `START`; may be incomplete.
        need: called with a number of bytes that `data` must hold; it appends to `data`, or raises.

    Raises:
        ValueError: no marker where one must be.
    """
    position = len(START)
    while True:
        need(position + 2)
        if data[position] != 0xFF:
            raise ValueError("no JPEG marker where one must be")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker == END_OF_IMAGE:
            return position + 2
        elif marker == _START_OF_IMAGE:
            return position
        elif marker in _STANDALONE:
            position += 2
        else:
            need(position + 4)
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            if marker == START_OF_SCAN:
                position = _scan_end(data, position, need)


def _scan_end(data: bytearray, position: int, need: Callable[[int], None]) -> int:
    """Return the position of the first marker after a scan's data."""
    while True:
        need(position + 2)
        found = MARKER.search(data, position)
        if found is not None:
            return found.start()
        position = len(data) - 1  # the last byte may be the first of a marker
