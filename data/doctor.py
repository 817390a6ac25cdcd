"""A look at a data set before days of training go into it: what is in it, what is wrong with it, what leaks."""

import colorsys
import functools
import hashlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.errors import ImageError
from data.images import read_image, read_size
from data.records import Dataset, Record

#: What a finding can be about. Those of `NOTES` are worth knowing and no fault: they leave the exit code alone.
KINDS = {
    "unreadable": "pictures that cannot be read",
    "size": "pictures of another size than annotated",
    "annotation": "annotations that had to be mended",
    "box": "boxes without an area or outside their picture",
    "class": "classes without an object",
    "twice": "pictures that are in the split twice",
    "leak": "pictures that are in two splits",
    "empty": "pictures without objects",
    "name": "names that stand for different pictures in two splits",
}
NOTES = frozenset({"empty", "name"})

SMALL, MEDIUM = 32**2, 96**2  # square pixels; where COCO's evaluation parts small, medium and large
OUTSIDE = 1.0  # pixels; a box that sticks out by less was rounded

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: its kind (of `KINDS`), the picture or class it is about, and a line on it."""

    kind: str
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What a split holds.

    Attributes:
        dataset: the kind of data set, such as "voc".
        split: the split's name.
        pictures, objects, difficult, crowd: counts; difficult and crowd ones are among the objects.
        without_objects: pictures with no object.
        most_objects: of the picture with the most.
        classes: objects of each class, in the order of the labels.
        sizes: share of the objects (0 to 1; without crowds) that COCO calls small, medium and large.
        findings: faults and notes.
    """

    dataset: str
    split: str
    pictures: int
    objects: int
    difficult: int
    crowd: int
    without_objects: int
    most_objects: int
    classes: dict[str, int]
    sizes: dict[str, float]
    findings: list[Finding]


def inspect_split(
    dataset: Dataset, *, quick: bool = False, threads: int | None = None, progress: Callable[[], object] | None = None
) -> SplitReport:
    """Look at every record and every picture of a split.

    Args:
        dataset: the split, as its reader returned it.
        quick: read the pictures' headers only, which finds neither damaged nor cut-off pixels.
        threads: that read pictures; one a core, at most 8, by default.
        progress: called after each picture.
    """
    findings = [Finding("annotation", "", text) for text in dataset.warnings]
    for found in _in_threads(lambda record: _look(record, quick), dataset.records, threads):
        findings += found
        if progress is not None:
            progress()
    labels = _joined([record.labels for record in dataset.records]).astype(np.int64)
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    classes = dict(zip(dataset.class_names, counts.tolist(), strict=True))
    findings += [Finding("class", name, f"no object of class {name!r}") for name, count in classes.items() if not count]
    per_picture = [len(record.labels) for record in dataset.records]
    return SplitReport(
        dataset=dataset.name,
        split=dataset.split,
        pictures=len(dataset.records),
        objects=len(labels),
        difficult=sum(int(record.difficult.sum()) for record in dataset.records),
        crowd=sum(int(record.crowd.sum()) for record in dataset.records),
        without_objects=per_picture.count(0),
        most_objects=max(per_picture, default=0),
        classes=classes,
        sizes=_size_shares(dataset.records),
        findings=findings,
    )


def find_duplicates(datasets: Sequence[Dataset], *, threads: int | None = None) -> list[Finding]:
    """Find pictures that are in two splits, or twice in one, by their bytes: "leak" and "twice".

    A file is hashed (SHA-256) only where another one has its length. An image_id that stands for different bytes in
    two splits is a "name": common where files are numbered, and a trap where results are joined by name.
    """
    places = [(index, record) for index, dataset in enumerate(datasets) for record in dataset.records]
    by_length: dict[int, list[tuple[int, Record]]] = defaultdict(list)
    for place in places:
        try:
            by_length[place[1].image.stat().st_size].append(place)
        except OSError:
            continue  # `inspect_split` reports it as unreadable
    suspects = [place for group in by_length.values() if len(group) > 1 for place in group]
    paths = list(dict.fromkeys(record.image for _, record in suspects))
    digests = dict(zip(paths, _in_threads(_digest, paths, threads), strict=True))
    same: dict[bytes, list[tuple[int, Record]]] = defaultdict(list)
    for place in suspects:
        digest = digests[place[1].image]
        if digest is not None:
            same[digest].append(place)

    findings = []
    for group in same.values():
        (first, record), *others = group
        for index, other in others:
            if index == first:
                text = f"{other.image} has the bytes of {record.image}"
                findings.append(Finding("twice", other.image_id, text))
            else:
                text = f"{other.image} ({datasets[index].split}) is {record.image} ({datasets[first].split})"
                findings.append(Finding("leak", other.image_id, text))
    names: dict[str, tuple[int, Record]] = {}
    for index, record in places:
        first, known = names.setdefault(record.image_id, (index, record))
        digest = digests.get(record.image)
        if first != index and (digest is None or digest != digests.get(known.image)):
            findings.append(Finding("name", record.image_id, f"{known.image} and {record.image} differ"))
    return findings


def contact_sheet(
    datasets: Sequence[Dataset], *, count: int = 24, columns: int = 6, cell: int = 256, seed: int = 0
) -> np.ndarray:
    """Draw random pictures with their boxes and names on one sheet -> (H, W, 3) uint8 RGB.

    Each picture fits into a square of `cell` pixels under a line with its split and name. Difficult and crowd objects
    have thin frames.
    """
    places = [(dataset, record) for dataset in datasets for record in dataset.records]
    chosen = random.Random(seed).sample(places, min(count, len(places)))
    line = 18
    columns = min(columns, max(len(chosen), 1))
    rows = max(-(-len(chosen) // columns), 1)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + line)), (32, 32, 32))
    draw = ImageDraw.Draw(sheet)
    for index, (dataset, record) in enumerate(chosen):
        left, top = index % columns * cell, index // columns * (cell + line)
        caption = f"{dataset.split}  {record.image_id}" if len(datasets) > 1 else record.image_id
        draw.text((left + 4, top + 2), _shortened(draw, caption, cell - 8), (230, 230, 230), font=_font(12))
        try:
            picture = _annotated(record, dataset.class_names, cell - 4)
        except ImageError:
            draw.text((left + 4, top + line + 4), "cannot be read", (255, 90, 90), font=_font(14))
            continue
        sheet.paste(picture, (left + (cell - picture.width) // 2, top + line + (cell - picture.height) // 2))
    return np.array(sheet)


def summary(report: SplitReport, *, width: int = 32) -> str:
    """Describe a split in lines of text: counts, sizes, a bar for each class (the longest is `width` characters)."""
    mean = report.objects / report.pictures if report.pictures else 0.0
    lines = [
        f"{report.dataset} {report.split}: {report.pictures:,} pictures, {report.objects:,} objects "
        f"({report.difficult:,} difficult, {report.crowd:,} crowd)",
        f"  {mean:.2f} objects a picture, {report.most_objects} at most; "
        f"{report.without_objects:,} pictures without objects",
        "  sizes: " + ", ".join(f"{share:.1%} {name}" for name, share in report.sizes.items()) + " (COCO: 32², 96² px)",
    ]
    column = max((len(name) for name in report.classes), default=0)
    most = max(report.classes.values(), default=0)
    for name, count in report.classes.items():
        bar = "#" * max(round(width * count / most), 1) if count else ""
        lines.append(f"  {name:<{column}} {count:>9,} {bar}".rstrip())
    return "\n".join(lines)


def listing(findings: Iterable[Finding], *, shown: int = 5) -> str:
    """Group findings by kind: a line with the count of each, and the first `shown` of each below it."""
    groups = Counter[str]()
    lines: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        groups[finding.kind] += 1
        if groups[finding.kind] <= shown:
            lines[finding.kind].append(f"    {finding.text}")
    out = []
    for kind, title in KINDS.items():
        if groups[kind]:
            out.append(f"  {'note' if kind in NOTES else 'FAULT'}: {groups[kind]:,} {title}")
            out += lines[kind]
            if groups[kind] > shown:
                out.append(f"    ... and {groups[kind] - shown:,} more")
    return "\n".join(out)


def as_json(reports: Sequence[SplitReport], between: Sequence[Finding]) -> dict[str, Any]:
    """Return everything that was found as plain values: `splits`, `between` and the number of `faults`."""
    findings = [*between, *(finding for report in reports for finding in report.findings)]
    return {
        "splits": [asdict(report) for report in reports],
        "between": [asdict(finding) for finding in between],
        "faults": count_faults(findings),
    }


def count_faults(findings: Iterable[Finding]) -> int:
    """Count the findings that are no mere notes."""
    return sum(finding.kind not in NOTES for finding in findings)


def _look(record: Record, quick: bool) -> list[Finding]:
    """Everything that one picture and its boxes show."""
    findings = []
    if not len(record.labels):
        findings.append(Finding("empty", record.image_id, f"{record.image} has no objects"))
    try:
        width, height = read_size(record.image) if quick else read_image(record.image).shape[1::-1]
    except ImageError as error:
        return [*findings, Finding("unreadable", record.image_id, str(error))]
    if record.size is not None and record.size != (width, height):
        annotated = f"{record.size[0]} × {record.size[1]}"
        text = f"{record.image} is annotated as {annotated}, the picture is {width} × {height}"
        findings.append(Finding("size", record.image_id, text))
    for x1, y1, x2, y2 in record.boxes.tolist():
        box = f"box [{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
        if not (x2 > x1 and y2 > y1):  # True for NaN, too
            findings.append(Finding("box", record.image_id, f"{record.image}: {box} has no area"))
        elif min(x1, y1) < -OUTSIDE or x2 > width + OUTSIDE or y2 > height + OUTSIDE:
            text = f"{record.image}: {box} sticks out of the picture of {width} × {height}"
            findings.append(Finding("box", record.image_id, text))
    return findings


def _size_shares(records: Iterable[Record]) -> dict[str, float]:
    areas = _joined([record.areas[~record.crowd] for record in records])
    count = max(len(areas), 1)
    small, large = int((areas < SMALL).sum()), int((areas >= MEDIUM).sum())
    return {"small": small / count, "medium": (len(areas) - small - large) / count, "large": large / count}


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.float32)


def _in_threads(work: Callable[[T], R], items: Sequence[T], threads: int | None) -> Iterator[R]:
    """Map in order; on an error or ctrl-C what has not begun is dropped, so that the command ends at once."""
    pool = ThreadPoolExecutor(threads or min(os.cpu_count() or 1, 8))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def _annotated(record: Record, class_names: Sequence[str], side: int) -> Image.Image:
    """The picture, scaled to fit into a square of `side` pixels, with its boxes."""
    image = Image.fromarray(read_image(record.image))
    scale = side / max(image.size)
    picture = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
    draw, font = ImageDraw.Draw(picture), _font(11)
    largest_first = np.argsort(-record.areas, kind="stable")
    tags = []
    for index in largest_first:
        label = int(record.labels[index])
        hue = label * 0.618034 % 1.0  # the golden ratio spreads neighbouring labels over the circle
        red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.6, 1.0))
        colour = (red, green, blue)
        x1, y1, x2, y2 = (float(value) * scale for value in record.boxes[index])
        flags = [name for name, flag in (("difficult", record.difficult), ("crowd", record.crowd)) if flag[index]]
        draw.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=colour, width=1 if flags else 2)
        tags.append((x1, y1, colour, " ".join([class_names[label], *(f"({flag})" for flag in flags)])))
    for x1, y1, colour, text in tags:  # last, so that no frame crosses a name
        wide, high = draw.textlength(text, font=font) + 4, 13
        x, y = min(max(x1, 0), max(picture.width - wide, 0)), min(max(y1, 0), max(picture.height - high, 0))
        draw.rectangle((x, y, x + wide, y + high), fill=colour)
        draw.text((x + 2, y), text, (0, 0, 0), font=font)
    return picture


def _shortened(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """Cut the start of a name that is too long for its cell: its end is what tells it apart."""
    while len(text) > 4 and draw.textlength(text, font=_font(12)) > width:
        text = "..." + text[4:]
    return text


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
