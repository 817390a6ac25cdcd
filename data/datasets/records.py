"""The one record type that every reader yields."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One image and its annotated objects.

    Attributes:
        image: where the image lies.
        image_id: the data set's own name of the image, unique within a split.
        boxes: (n, 4) float32, xyxy in continuous pixels of the image as `data.images.image_io.read_image` returns it.
        labels: (n,) int64, 0-based; there is no background class.
        difficult: (n,) bool; VOC's flag: neither asked for nor punished by its AP.
        crowd: (n,) bool; COCO's flag: one box around many objects, not trained on.
        areas: (n,) float32, square pixels; COCO's segment area where known, else that of the box.
        size: (width, height) as annotated, or None where the data set does not say.
    """

    image: Path
    image_id: str
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A split of a data set, read. `warnings` holds a line for each thing that was tolerated."""

    name: str
    split: str
    class_names: tuple[str, ...]
    records: list[Record]
    warnings: list[str] = field(default_factory=list)

    def __deepcopy__(self, memo: object) -> "Dataset":
        """Itself: it is only ever read, and copying a training module (for averaged weights) copies what it holds."""
        return self
