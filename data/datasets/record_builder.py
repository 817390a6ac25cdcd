"""Builds a `Record` from the values that a reader parsed, with the checks that all formats share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.datasets.records import Record
from data.errors import ImageError
from data.images.image_io import read_size

#: A box that extends beyond its image by at most this many pixels (rounding) is clipped without a warning.
_TOLERANCE = 0.5
#: Share of a side by which a box must extend beyond the annotated size for that to be doubted.
_DOUBT = 0.02
#: Differences of the corners of one object annotated twice, as a share of its box's smaller side.
_NEAR = 0.03


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

    So do boxes smaller than a pixel, objects that nearly repeat another, and an annotated size that is ignored because
    the boxes fit the image alone.

    An object is repeated where an earlier one has the same label, box and flags: it would count as missed.

    Args:
        image: path of the image.
        image_id: the dataset's name of it.
        boxes: n boxes, xyxy in pixels.
        labels: n labels, 0-based.
        size: (width, height) as annotated; None leaves the boxes unclipped.
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
        size = _fitting_size(image, size, box, where, warnings)
        limits = np.array([*size, *size], dtype=np.float32)
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
    for i in np.flatnonzero(((box[:, 2:] - box[:, :2]) < 1).all(axis=1)):
        warnings.append(f"box smaller than a pixel, is it relative to the image?: {where}: {_text(box[i])}")
    if len(label) > 1:
        repeated = _repeated(box, label, many)
        if repeated:
            warnings += [f"the same object twice, one dropped: {where}: {_text(box[i])}" for i in repeated]
            box, label, hard, many, area = (np.delete(array, repeated, 0) for array in (box, label, hard, many, area))
        for one, other in _nearly_repeated(box, label, many):
            warnings.append(
                f"nearly the same object twice, both are kept: {where}: {_text(box[one])} and {_text(box[other])}"
            )
    return Record(image, image_id, box, label, hard, many, area, size)


def read_size_or_none(image: Path) -> tuple[int, int] | None:
    """Return (width, height) of the upright image; None for one that cannot be read, which `check_headers` reports."""
    try:
        return read_size(image)
    except ImageError:
        return None


def _fitting_size(
    image: Path, size: tuple[int, int], box: np.ndarray, where: str, warnings: list[str]
) -> tuple[int, int]:
    """Return the annotated size; that of the image where the boxes are clearly beyond the annotated one and fit it.

    Tools that swap width and height, or annotate upright images with their stored size, write such boxes.
    """
    corners = box[:, 2:]
    if not (corners > np.array(size) * (1 + _DOUBT) + 1).any():
        return size
    found = read_size_or_none(image)
    if found is None or found == size or (corners > np.array(found) + _TOLERANCE).any():
        return size
    warnings.append(
        "boxes fit the image, but not the annotated size, which is ignored: "
        f"{where}: {size[0]} × {size[1]}, the image is {found[0]} × {found[1]}"
    )
    return found


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


def _nearly_repeated(box: np.ndarray, label: np.ndarray, crowd: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of objects of one label whose boxes nearly agree, without crowds."""
    side = (box[:, 2:] - box[:, :2]).min(axis=1) * np.where(crowd, -1, 1)
    near = np.abs(box[:, None] - box).max(axis=2) <= _NEAR * np.minimum(side[:, None], side)
    near &= label[:, None] == label
    return [(i, j) for i, j in np.argwhere(near).tolist() if i < j] if near.sum() > len(label) else []


def _text(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
