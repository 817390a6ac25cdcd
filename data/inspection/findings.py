"""Findings of a dataset check, and the report of one split."""

from dataclasses import dataclass

#: Kinds of findings, with the title of each. Those of `NOTES` are no faults and do not change the exit code.
FINDING_KINDS = {
    "split": "splits that cannot be read",
    "class-list": "class names that cannot be trained on",
    "unreadable": "images that cannot be read",
    "size": "images of another size than annotated",
    "annotation": "annotations that had to be corrected",
    "box": "boxes without an area or beyond their image",
    "class": "classes without an object",
    "twice": "images that are in the split twice",
    "leak": "images that are in two splits",
    "empty": "images without objects",
    "name": "names of different images in two splits",
    "absent": "classes without an object in this split, with some in the first",
    "one-split": "datasets without a split to validate on",
    "class-order": "differences between the class lists of two splits, which are matched by name",
}
NOTES = frozenset({"empty", "name", "absent", "one-split", "class-order"})


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding: its kind (a key of `FINDING_KINDS`), the image id or class concerned, and a one-line description."""

    kind: str
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class SplitReport:
    """Statistics and findings of one split.

    Attributes:
        dataset: name of the dataset format, such as "voc".
        split: the split's name.
        images, objects, difficult, crowd: counts; difficult and crowd ones are among the objects.
        without_objects: images with no object.
        most_objects: largest number of objects in an image.
        classes: number of objects of each class, in the order of the labels.
        sizes: share of the objects (0 to 1; without crowds) that are small, medium and large by COCO's definition.
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
