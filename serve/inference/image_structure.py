"""Structure of an untrusted image file: bounds on the parts that decoders handle one by one.

A file of 10 MB may have millions of empty chunks or segments, or filler between them. Pillow's Python code takes
microseconds for each, up to 10 s in all, in a thread that no deadline can end.
"""

from data.images.jpeg import END_OF_IMAGE, MARKER, START, START_OF_SCAN
from serve.errors import ServiceError

MAX_PARTS = 20_000  # chunks of a PNG, or segments and bytes of filler of a JPEG; a photo has some hundreds
MAX_RLE_BMP = 4_000_000  # bytes of a run-length encoded BMP, which Pillow decodes in Python: up to 1 s
#: Progressive JPEGs have about ten scans. Each is a pass over the whole image, even where it is empty: a small file
#: of thousands would keep a decoder busy for minutes.
MAX_SCANS = 100
_WITHOUT_LENGTH = frozenset({0x01, 0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)})  # markers that Pillow reads no length after
SEARCHED_AT_ONCE = 1_000_000  # bytes; a search keeps other threads waiting, for up to 10 ms
_RLE = (1, 2)  # compression methods of a BMP: runs of 8 and of 4 bits


def check_structure(content: bytes, kind: str) -> int:
    """Return the number of scans of a JPEG, 1 for other formats; takes some milliseconds for 10 MB of any content.

    Args:
        content: the file.
        kind: its format as `image_decoding.image_format` names it.

    Raises:
        ServiceError: `unreadable_picture`, for an image of more parts or scans than images have.
    """
    parts, scans = 0, 1
    if kind == "JPEG":
        parts, scans = _jpeg_parts(content)
    elif kind == "PNG":
        parts = _png_parts(content)
    elif kind == "BMP" and len(content) > MAX_RLE_BMP and int.from_bytes(content[30:34], "little") in _RLE:
        raise ServiceError(
            "unreadable_picture", f"a compressed BMP of more than {MAX_RLE_BMP / 1e6:g} MB; save it as a PNG"
        )
    if parts > MAX_PARTS or scans > MAX_SCANS:
        found = f"{MAX_SCANS} scans" if scans > MAX_SCANS else f"{MAX_PARTS} parts"
        raise ServiceError("unreadable_picture", f"a {kind} of more than {found}; save the image again")
    return scans


def _png_parts(png: bytes) -> int:
    """Count the chunks; stops once over `MAX_PARTS`."""
    parts, position = 0, 8
    while parts <= MAX_PARTS and position < len(png):
        position += 12 + int.from_bytes(png[position : position + 4], "big")
        parts += 1
    return parts


def _jpeg_parts(jpeg: bytes) -> tuple[int, int]:
    """Count the parts and the scans; stops once over `MAX_PARTS` or `MAX_SCANS`.

    Parts are the segments, and the bytes between them before the first scan. Damaged data counts as a scan's.
    """
    parts, scans, position = 0, 0, len(START)
    while parts <= MAX_PARTS and scans <= MAX_SCANS:
        start = _next_marker(jpeg, position)
        if not scans:
            parts += start - position
        if start == len(jpeg) or (scans and jpeg[start + 1] == END_OF_IMAGE):
            break
        marker, position = jpeg[start + 1], start + 2
        if marker not in _WITHOUT_LENGTH:
            position += max(2, int.from_bytes(jpeg[position : position + 2], "big"))
        scans += marker == START_OF_SCAN
        parts += 1
    return parts, scans


def _next_marker(jpeg: bytes, start: int) -> int:
    """Position of the first marker from `start` on; the end where there is none."""
    for position in range(start, len(jpeg), SEARCHED_AT_ONCE):
        found = MARKER.search(jpeg, position, position + SEARCHED_AT_ONCE + 1)
        if found is not None:
            return found.start()
    return len(jpeg)
