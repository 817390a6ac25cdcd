"""Near-duplicate images: frames of one video, bursts, resized and recompressed copies, by their thumbnails."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from data.cpu_cores import usable_cores
from data.errors import ImageError
from data.images.image_io import read_image
from data.images.image_slice import ImageFile
from data.images.prefetch import prefetch

SIDE = 16  # pixels of a thumbnail's side
#: Largest root mean square difference of the gray levels, 0 to 255, of two near-duplicates' thumbnails.
DIFFERENCE = 4.0
#: A larger group, as share of all images, is no group: images of one static camera are all alike.
LARGEST_SHARE = 0.1
_CHUNK = 1024


def near_duplicate_groups(images: Sequence[ImageFile], *, progress: Callable[[int], object] | None = None) -> list[int]:
    """Group images that are near-duplicates, also by way of other images.

    Args:
        images: the images; one that cannot be read is a group of its own.
        progress: called with 1 after each image.

    Returns:
        For each image the number of its group. The images of a group of more than `LARGEST_SHARE` of all are alone.
    """
    thumbnails = np.zeros((len(images), SIDE * SIDE), dtype=np.float32)
    readable = np.ones(len(images), dtype=bool)
    for index, (_, thumbnail) in enumerate(prefetch(images, _thumbnail, workers=usable_cores())):
        if isinstance(thumbnail, ImageError):
            readable[index] = False
        else:
            thumbnails[index] = thumbnail.reshape(-1)
        if progress is not None:
            progress(1)
    parents = list(range(len(images)))
    squares = (thumbnails**2).sum(axis=1)
    limit = DIFFERENCE**2 * SIDE * SIDE
    for start in range(0, len(images), _CHUNK):
        rows = slice(start, start + _CHUNK)
        distances = squares[rows, None] + squares[None] - 2 * thumbnails[rows] @ thumbnails.T
        near = (distances <= limit) & readable[rows, None] & readable[None]
        for row, column in zip(*np.nonzero(np.triu(near, start + 1)), strict=True):
            parents[_root(parents, int(row) + start)] = _root(parents, int(column))
    roots = [_root(parents, index) for index in range(len(images))]
    sizes = np.bincount(roots, minlength=len(images))
    largest = max(LARGEST_SHARE * len(images), 1)
    return [index if sizes[root] > largest else root for index, root in enumerate(roots)]


def _thumbnail(image: ImageFile) -> np.ndarray:
    gray = cv2.cvtColor(read_image(image), cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index
