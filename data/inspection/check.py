"""Dataset check before training: read every image, count objects, find faulty annotations."""

from collections.abc import Callable, Iterable

import numpy as np

from data.cpu_cores import map_in_threads
from data.datasets.class_names import class_name_faults, similar_names
from data.datasets.image_headers import ANOTHER_SHAPE, check_headers, check_pixels
from data.datasets.records import Dataset, Record
from data.errors import ImageError
from data.images.image_io import read_image, read_size
from data.inspection.findings import Finding, SplitReport

SMALL, MEDIUM = 32**2, 96**2  # square pixels; COCO's limits between small, medium and large objects
OUTSIDE = 1.0  # pixels; a box that extends beyond the image by less is a rounding error


def inspect_split(
    dataset: Dataset, *, quick: bool = False, threads: int | None = None, progress: Callable[[], object] | None = None
) -> SplitReport:
    """Check every record and every image of a split.

    Args:
        dataset: the split, as its reader returned it.
        quick: read the images' headers and last bytes only; other damage of the pixel data is not found.
        threads: number of threads that read images; by default one per core, at most 8.
        progress: called after each image.
    """
    checked = check_headers(dataset, threads=threads)
    findings = [Finding("class-list", "", text) for text in class_name_faults(dataset.class_names)]
    for group in similar_names(dataset.class_names):
        text = f"classes {', '.join(map(repr, group))} differ in case only; are they one class?"
        findings.append(Finding("class-list", group[0], text))
    # `_check_record` reports images of another shape by their ids.
    warnings = [text for text in checked.warnings if not text.startswith(ANOTHER_SHAPE)]
    findings += [Finding("annotation", "", text) for text in warnings]
    corrected = {record.image_id: record for record in checked.records}
    records = [corrected.get(record.image_id, record) for record in dataset.records]
    for found in map_in_threads(lambda record: _check_record(record, quick), records, threads):
        findings += found
        if progress is not None:
            progress()
    labels = _joined([record.labels for record in records]).astype(np.int64)
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    classes = dict(zip(dataset.class_names, counts.tolist(), strict=True))
    findings += [Finding("class", name, f"no object of class {name!r}") for name, count in classes.items() if not count]
    per_image = [len(record.labels) for record in records]
    return SplitReport(
        dataset=dataset.name,
        split=dataset.split,
        images=len(records),
        objects=len(labels),
        difficult=sum(int(record.difficult.sum()) for record in records),
        crowd=sum(int(record.crowd.sum()) for record in records),
        without_objects=per_image.count(0),
        most_objects=max(per_image, default=0),
        classes=classes,
        sizes=_size_shares(records),
        findings=findings,
    )


def _check_record(record: Record, quick: bool) -> list[Finding]:
    """Return the findings on one image and its boxes."""
    findings = []
    if not len(record.labels):
        findings.append(Finding("empty", record.image_id, f"{record.image} has no objects"))
    try:
        if quick:
            check_pixels(record.image)
        width, height = read_size(record.image) if quick else read_image(record.image).shape[1::-1]
    except ImageError as error:
        return [*findings, Finding("unreadable", record.image_id, str(error))]
    if record.size is not None and record.size != (width, height):
        annotated = f"{record.size[0]} × {record.size[1]}"
        text = f"{record.image} is annotated as {annotated}, the image is {width} × {height}"
        findings.append(Finding("size", record.image_id, text))
    for x1, y1, x2, y2 in record.boxes.tolist():
        box = f"box [{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
        if not (x2 > x1 and y2 > y1):  # True for NaN, too
            findings.append(Finding("box", record.image_id, f"{record.image}: {box} has no area"))
        elif min(x1, y1) < -OUTSIDE or x2 > width + OUTSIDE or y2 > height + OUTSIDE:
            text = f"{record.image}: {box} extends beyond the image of {width} × {height}"
            findings.append(Finding("box", record.image_id, text))
    return findings


def _size_shares(records: Iterable[Record]) -> dict[str, float]:
    areas = _joined([record.areas[~record.crowd] for record in records])
    count = max(len(areas), 1)
    small, large = int((areas < SMALL).sum()), int((areas >= MEDIUM).sum())
    return {"small": small / count, "medium": (len(areas) - small - large) / count, "large": large / count}


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.float32)
