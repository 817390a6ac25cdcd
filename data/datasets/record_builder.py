"""Builds a `Record` from the values that a reader parsed, with the checks that all formats share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.datasets.records import Record
from data.errors import ImageError
from data.images.image_io import read_size

#: A box that extends beyond its image by at most this many pixels (rounding) is clipped without a warning.
_TOLERANCE = 0.5


def build_record(
    image: Path,
    image_id: str,
    boxes: Sequence[Sequence[float]] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    *,
    size: tuple[int, int] | None,
    where: str,
    warnings: list[str],
    difficult: Sequence[bool] | None = None,
    crowd: Sequence[bool] | None = None,
    areas: Sequence[float] | None = None,
) -> Record:
    """Clip the boxes to the image; drop boxes without an area and repeated objects. Each adds a line to `warnings`.

    An object is repeated where an earlier one has the same label, box and flags: it would count as missed.

    Args:
        image: path of the image.
        image_id: the dataset's name of it.
        boxes: n boxes, xyxy in pixels.
        labels: n labels, 0-based.
        size: (width, height); None leaves the boxes unclipped.
        where: location named by the warnings, usually the annotation file.
        warnings: list that lines are appended to.
        difficult, crowd: n flags, all False by default.
        areas: n areas in square pixels, those of the clipped boxes by default.
    """
    n = len(labels)
    box = np.asarray(boxes, dtype=np.float32).reshape(n, 4)
    label = np.asarray(labels, dtype=np.int64).reshape(n)
    hard = np.zeros(n, dtype=bool) if difficult is None else np.asarray(difficult, dtype=bool)
    many = np.zeros(n, dtype=bool) if crowd is None else np.asarray(crowd, dtype=bool)
    if n and size is not None:
        limits = np.array([size[0], size[1], size[0], size[1]], dtype=np.float32)
        outside = ((box < -_TOLERANCE) | (box > limits + _TOLERANCE)).any(axis=1)
        for i in np.flatnonzero(outside):
            warnings.append(f"box clipped to its image: {where}: {_text(box[i])} of {size[0]} × {size[1]}")
        box = np.clip(box, 0, limits)
    extent = box[:, 2:] - box[:, :2]
    area = extent[:, 0] * extent[:, 1] if areas is None else np.asarray(areas, dtype=np.float32).reshape(n)
    keep = (extent > 0).all(axis=1)  # False for NaN, too
    if not keep.all():
        for i in np.flatnonzero(~keep):
            warnings.append(f"box dropped, it has no area in its image: {where}: {_text(box[i])}")
        box, label, hard, many, area = box[keep], label[keep], hard[keep], many[keep], area[keep]
    if len(label) > 1:
        repeated = _repeated(box, label, many)
        if repeated:
            warnings += [f"the same object twice, one dropped: {where}: {_text(box[i])}" for i in repeated]
            box, label, hard, many, area = (np.delete(array, repeated, 0) for array in (box, label, hard, many, area))
    return Record(image, image_id, box, label, hard, many, area, size)


def read_size_or_none(image: Path) -> tuple[int, int] | None:
    """Return (width, height) of the upright image; None for one that cannot be read, which `check_headers` reports."""
    try:
        return read_size(image)
    except ImageError:
        return None


def _repeated(box: np.ndarray, label: np.ndarray, crowd: np.ndarray) -> list[int]:
    """Return the indices of objects that an earlier one has the box, label and crowd flag of."""
    rows = [
        (*corners, number, many)
        for corners, number, many in zip(box.tolist(), label.tolist(), crowd.tolist(), strict=True)
    ]
    if len(set(rows)) == len(rows):
        return []
    first: dict[tuple[float, ...], int] = {}
    return [index for index, row in enumerate(rows) if first.setdefault(row, index) != index]


def _text(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
