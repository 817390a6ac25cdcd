"""TIFF of other depths than 8 bits: signed, 12-bit, 32-bit and floating-point samples, several channels, WhiteIsZero.

Pillow refuses most of them, or takes their samples for others; OpenCV decodes them, and this module scales the values.
"""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np
from PIL import Image

from data.images.value_range import to_uint8, value_range

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 262, 274  # tags (TIFF 6.0)
_SAMPLES, _PLANAR, _FORMAT = 277, 284, 339
_OFFSETS = (273, 324)  # of strips and of tiles
_COUNTS = (279, 325)  # their bytes
_EXTRA = 338  # meaning of the fourth channel
_KEPT = (_WIDTH, _HEIGHT, _PHOTOMETRIC, 259, 266, 278, 317, 322, 323, _EXTRA)  # compression, rows, predictor, tiles
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNSIGNED, _FLOAT = 1, 3
_LONG = 4  # type of a tag's values: uint32


@dataclass(frozen=True, slots=True)
class DeepTiff:
    """Header of a TIFF that Pillow does not read, or reads wrongly.

    Attributes:
        size: (width, height) as stored.
        orientation: 1 to 8, as in EXIF.
        bits: of a sample.
        white_is_zero: the values are inverted.
        planes: number of channels that are stored in separate planes; 1 for channels side by side.
        tags: all others.
    """

    size: tuple[int, int]
    orientation: int
    bits: int
    white_is_zero: bool
    planes: int
    tags: "ImageFileDirectory_v2"


def read_deep_header(file: BinaryIO) -> DeepTiff | None:
    """Read the header of the first image; None for any other file, and for what Pillow reads as it is meant.

    The file is then at its begin again.
    """
    head = file.read(4)
    file.seek(0)
    if head not in _MAGIC:
        return None
    try:
        tags = _read_tags(file)
    except (struct.error, SyntaxError, ValueError, OSError, LookupError, TypeError):
        return None  # Pillow says what is wrong with it
    finally:
        file.seek(0)
    bits, form = _number(tags, _BITS, 1), _number(tags, _FORMAT, _UNSIGNED)
    photometric, samples = _number(tags, _PHOTOMETRIC, -1), _number(tags, _SAMPLES, 1)
    planes = samples > 1 and _number(tags, _PLANAR, 1) == 2
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) or (bits <= 8 and form == _UNSIGNED):
        return None
    plain = photometric == _BLACK_IS_ZERO and samples == 1 and (bits, form) in ((16, _UNSIGNED), (32, _FLOAT))
    if plain or (photometric == _RGB and bits == 16 and form == _UNSIGNED and not planes):
        return None
    orientation = _number(tags, _ORIENTATION, 1)
    return DeepTiff(
        (_number(tags, _WIDTH, 0), _number(tags, _HEIGHT, 0)),
        orientation if 1 <= orientation <= 8 else 1,
        bits,
        photometric == _WHITE_IS_ZERO,
        samples if planes else 1,
        tags,
    )


def decode_deep(file: BinaryIO, header: DeepTiff) -> Image.Image:
    """Decode the first image to 8 bits a channel, in stored orientation; ValueError where OpenCV cannot.

    The values are scaled by `value_range`; an alpha channel is scaled as the others.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # unknown tags are nobody's concern
    content = file.read()
    if header.planes == 1:
        values = _decode(content, header)
    else:
        planes = [_decode(content, header, number) for number in (2, 1, 0)]  # BGR, as from OpenCV
        values = np.dstack([plane for plane in planes if plane is not None])
    if values is None or values.shape[1::-1] != header.size or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise ValueError(f"a TIFF of {header.bits}-bit samples of a kind that is not supported; convert it to 8 bits")
    low, high = value_range([values])
    if header.bits == 12:  # OpenCV shifts them to 16 bits
        low, high = 0.0, float(4095 << 4)
    scaled = to_uint8(values, low, high)
    if header.white_is_zero:
        scaled = 255 - scaled
    if scaled.ndim == 3:
        scaled = cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB if scaled.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return Image.fromarray(scaled)


def _decode(content: bytes, header: DeepTiff, plane: int | None = None) -> np.ndarray | None:
    """Decode an image, or one channel of separate planes as a gray image; None where OpenCV cannot.

    OpenCV finds no separate planes, and refuses deep images that are turned. A directory that names the strips or tiles
    of one plane, and no orientation, is therefore appended to the file.
    """
    order = "<" if content[:2] == b"II" else ">"
    samples = 1 if plane is not None else _number(header.tags, _SAMPLES, 1)
    if content[2:4] not in (b"*\0", b"\0*"):  # BigTIFF
        return _by_opencv(content) if plane is None else None
    tags: dict[int, list[int]] = {tag: [_number(header.tags, tag, 0)] for tag in _KEPT if tag in header.tags}
    tags |= {_BITS: [header.bits] * samples, _FORMAT: [_number(header.tags, _FORMAT, _UNSIGNED)] * samples}
    tags |= {_SAMPLES: [samples], _PLANAR: [1]}
    if plane is not None:
        tags[_PHOTOMETRIC] = [_BLACK_IS_ZERO]
    for tag in (*_OFFSETS, *_COUNTS):
        if tag in header.tags:
            values = header.tags[tag]
            each = len(values) // header.planes
            start = each * (plane or 0)
            tags[tag] = [int(value) for value in values[start : start + each]]
    start = len(content) + len(content) % 2
    after = start + 2 + 12 * len(tags) + 4
    entries, lists = b"", b""
    for tag, numbers in sorted(tags.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(data) > 4:
            data, lists = struct.pack(f"{order}I", after + len(lists)), lists + data
        entries += struct.pack(f"{order}HHI", tag, _LONG, len(numbers)) + data
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + lists
    file = content[:4] + struct.pack(f"{order}I", start) + content[8:] + bytes(len(content) % 2) + directory
    return _by_opencv(file)


def _by_opencv(content: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"the TIFF is damaged ({error.err or error.code})") from None


def _read_tags(file: BinaryIO) -> "ImageFileDirectory_v2":
    from PIL.TiffImagePlugin import ImageFileDirectory_v2  # a tenth of the start of a command, for TIFFs only

    head = file.read(8)
    if b"+" in head[:4]:
        head += file.read(8)
    tags = ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _number(tags: "ImageFileDirectory_v2", tag: int, default: int) -> int:
    value: Any = tags.get(tag, default)
    if isinstance(value, tuple):  # one for each sample
        value = value[0] if value else default
    return int(value)
