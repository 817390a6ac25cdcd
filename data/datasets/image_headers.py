"""Image headers of a detection dataset: unreadable and cut off images, boxes annotated in another frame than that of
the upright image.

The frame of the boxes is taken from the annotated width and height. Where they are those of the stored image, before
its EXIF orientation, the boxes are turned; where they have the proportions of the image in another size, the boxes are
scaled. All else is a warning, as the frame cannot be known.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.cpu_cores import map_in_threads
from data.datasets.records import Dataset, Record
from data.errors import ImageError
from data.images.image_io import FORMATS, MAX_PIXELS, read_image, read_size
from data.images.image_slice import ImageFile
from data.images.signatures import may_be_cut_off

_ORIENTATION_TAG = 0x0112
#: Largest relative difference between the two sides' scales of an image that was resized in proportion.
_SCALE_DIFFERENCE = 0.01
#: Kind of the warning about boxes whose frame is not known; `data.inspection.check` has a finding of its own for it.
ANOTHER_SHAPE = "annotated in another shape than the image, boxes may be wrong"
_CHUNK = 64


def check_headers(
    dataset: Dataset,
    *,
    decode: bool = False,
    threads: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Dataset:
    """Read every image's header; drop unreadable images and correct boxes whose frame is known.

    Args:
        dataset: a split, as its reader returned it.
        decode: decode every image; by default only those whose last bytes are not those of a whole image.
        threads: number of threads; by default one per core, at most 8.
        progress: called with the number of images after each part of them.

    Returns:
        The dataset, with more `unreadable` images and more `warnings`; unchanged records are the same objects.
    """
    records: list[Record] = []
    warnings, unreadable = list(dataset.warnings), list(dataset.unreadable)
    chunks = [dataset.records[start : start + _CHUNK] for start in range(0, len(dataset.records), _CHUNK)]
    found = map_in_threads(lambda chunk: _headers(chunk, decode), chunks, threads)
    for chunk, headers in zip(chunks, found, strict=True):
        for record, header in zip(chunk, headers, strict=True):
            if isinstance(header, str):
                unreadable.append(header)
            else:
                records.append(_in_upright_frame(record, *header, warnings))
        if progress is not None:
            progress(len(chunk))
    return replace(dataset, records=records, warnings=warnings, unreadable=unreadable)


def _headers(records: list[Record], decode: bool) -> list[tuple[tuple[int, int], int] | str]:
    """Return for each image the size as displayed and the EXIF orientation, or the reason why it cannot be read."""
    found: list[tuple[tuple[int, int], int] | str] = []
    for record in records:
        try:
            check_pixels(record.image, decode)
            found.append(_header(record.image) if isinstance(record.image, Path) else (read_size(record.image), 1))
        except ImageError as error:
            found.append(str(error))
    return found


def check_pixels(image: ImageFile, decode: bool = False) -> None:
    """Raise ImageError for an image whose pixels cannot be read.

    Args:
        image: the file, or a part of a shard, whose images were checked when they were packed.
        decode: decode it in any case; else only a file that may be cut off.
    """
    if not decode:
        if not isinstance(image, Path):
            return
        try:
            with image.open("rb") as file:
                if not may_be_cut_off(file):
                    return
        except OSError:
            pass  # `read_image` words the error
    read_image(image)


def _header(path: Path) -> tuple[tuple[int, int], int]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            (width, height), orientation = image.size, int(image.getexif().get(_ORIENTATION_TAG, 1))
            plain = image.format != "TIFF" and 1 <= orientation <= 8 and width * height <= MAX_PIXELS
    except Exception:  # `read_size` decides about damaged files, and words the error
        plain = False
    if not plain:
        return read_size(path), 1
    return ((height, width) if orientation >= 5 else (width, height)), orientation


def _in_upright_frame(record: Record, size: tuple[int, int], orientation: int, warnings: list[str]) -> Record:
    """Return the record with boxes in pixels of the upright image of `size`, as far as their frame is known."""
    if record.size is None:
        return replace(record, size=size)
    if not len(record.labels):
        return record if record.size == size else replace(record, size=size)
    if record.size == size:
        if orientation in (2, 3, 4):
            warnings.append(f"EXIF orientation {orientation}, boxes taken to be in the upright image: {record.image}")
        return record
    annotated = (
        f"{record.image} is annotated as {record.size[0]} × {record.size[1]}, the image is {size[0]} × {size[1]}"
    )
    if orientation >= 5 and record.size == size[::-1]:
        warnings.append(f"boxes turned by the EXIF orientation, annotated in the stored frame: {record.image}")
        return replace(record, boxes=turn_boxes(record.boxes, record.size, orientation), size=size)
    scale = size[0] / record.size[0], size[1] / record.size[1]
    if abs(scale[0] / scale[1] - 1) <= _SCALE_DIFFERENCE:
        warnings.append(f"boxes scaled to the image, annotated in another size: {annotated}")
        boxes = record.boxes * np.array([*scale, *scale], dtype=np.float32)
        return replace(record, boxes=boxes, areas=record.areas * np.float32(scale[0] * scale[1]), size=size)
    warnings.append(f"{ANOTHER_SHAPE}: {annotated}")
    return record


def turn_boxes(boxes: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Turn boxes of a stored image into the frame of the upright image.

    Args:
        boxes: (n, 4) xyxy in pixels of the stored image.
        size: (width, height) of the stored image.
        orientation: EXIF orientation, 1 to 8.

    Returns:
        (n, 4) float32, xyxy in pixels of the upright image.
    """
    width, height = size
    x1, y1, x2, y2 = boxes.T
    turned = {
        1: (x1, y1, x2, y2),
        2: (width - x2, y1, width - x1, y2),
        3: (width - x2, height - y2, width - x1, height - y1),
        4: (x1, height - y2, x2, height - y1),
        5: (y1, x1, y2, x2),
        6: (height - y2, x1, height - y1, x2),
        7: (height - y2, width - x2, height - y1, width - x1),
        8: (y1, width - x2, y2, width - x1),
    }[orientation]
    return np.stack(turned, axis=1).astype(np.float32)
