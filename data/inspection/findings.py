"""Findings of a dataset check, and the report of one split."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

#: What a finding can be about. Those of `NOTES` are worth knowing and no fault: they leave the exit code alone.
KINDS = {
    "unreadable": "images that cannot be read",
    "size": "images of another size than annotated",
    "annotation": "annotations that had to be mended",
    "box": "boxes without an area or outside their image",
    "class": "classes without an object",
    "twice": "images that are in the split twice",
    "leak": "images that are in two splits",
    "empty": "images without objects",
    "name": "names that stand for different images in two splits",
}
NOTES = frozenset({"empty", "name"})
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: its kind (of `KINDS`), the image or class it is about, and a line on it."""

    kind: str
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What a split holds.

    Attributes:
        dataset: the kind of data set, such as "voc".
        split: the split's name.
        images, objects, difficult, crowd: counts; difficult and crowd ones are among the objects.
        without_objects: images with no object.
        most_objects: of the image with the most.
        classes: objects of each class, in the order of the labels.
        sizes: share of the objects (0 to 1; without crowds) that COCO calls small, medium and large.
        findings: faults and notes.
    """

    dataset: str
    split: str
    images: int
    objects: int
    difficult: int
    crowd: int
    without_objects: int
    most_objects: int
    classes: dict[str, int]
    sizes: dict[str, float]
    findings: list[Finding]


def in_threads(work: Callable[[T], R], items: Sequence[T], threads: int | None) -> Iterator[R]:
    """Map in order; on an error or ctrl-C what has not begun is dropped, so that the command ends at once."""
    pool = ThreadPoolExecutor(threads or min(os.cpu_count() or 1, 8))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
