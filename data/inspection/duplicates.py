"""Duplicate images, within a split and between splits."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from data.cpu_cores import map_in_threads
from data.datasets.records import Dataset, Record
from data.errors import ImageError
from data.images.image_slice import ImageFile, stored_length
from data.inspection.findings import Finding


def find_duplicates(datasets: Sequence[Dataset], *, threads: int | None = None) -> list[Finding]:
    """Find duplicate files: findings "leak" (in two splits), "twice" (twice in one) and "name".

    Files are compared by SHA-256, which is computed only for files of equal length. "name" is an image_id that has
    different bytes in two splits: common where files are numbered, and an error where results are joined by name.
    """
    places = [(index, record) for index, dataset in enumerate(datasets) for record in dataset.records]
    by_length: dict[int, list[tuple[int, Record]]] = defaultdict(list)
    for place in places:
        try:
            by_length[stored_length(place[1].image)].append(place)
        except OSError:
            continue  # `inspect_split` reports it as unreadable
    suspects = [place for group in by_length.values() if len(group) > 1 for place in group]
    images = list(dict.fromkeys(record.image for _, record in suspects))
    digests = dict(zip(images, map_in_threads(_digest, images, threads), strict=True))
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


def _digest(image: ImageFile) -> bytes | None:
    try:
        return hashlib.sha256(image.read_bytes()).digest()
    except (OSError, ImageError):
        return None
