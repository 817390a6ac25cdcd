"""Record and Dataset: the annotations of one image and of a split, as every reader returns them."""

from dataclasses import dataclass, field

import numpy as np

from data.errors import DatasetError
from data.images.image_slice import ImageFile


class MissingSplitError(DatasetError):
    """A split that a dataset does not have; the message lists those that it has."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One image and its annotated objects.

    Attributes:
        image: path of the image file, or its place in a shard.
        image_id: the dataset's own name of the image, unique within a split.
        boxes: (n, 4) float32, xyxy in continuous pixels of the image as `data.images.image_io.read_image` returns it.
        labels: (n,) int64, 0-based; there is no background class.
        difficult: (n,) bool; VOC's flag: ignored by AP, neither true nor false positive.
        crowd: (n,) bool; COCO's flag: one box around many objects, not used in training.
        areas: (n,) float32, square pixels; COCO's segment area where known, else that of the box.
        size: (width, height) as annotated, or None where the dataset does not give it.
    """

    image: ImageFile
    image_id: str
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A split of a dataset.

    Attributes:
        name: name of the format, or of the packed dataset.
        split: name of the split.
        class_names: names of the classes, by label.
        records: the images with their objects.
        warnings: a line "KIND: DETAILS" for each fault of the annotations that was corrected or ignored; see
            `data.datasets.dataset_warnings`.
        unreadable: a line for each listed image that is missing or cannot be read; it has no record.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    records: list[Record]
    warnings: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def __deepcopy__(self, memo: object) -> "Dataset":
        """Return the same object: it is read-only, and a copy of a training module (for averaged weights) holds it."""
        return self
