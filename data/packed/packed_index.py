"""Index of a packed split: its shards, and of each image the annotations and the place in a shard.

A packed split is a folder with `NAME-00000.tar`, `NAME-00001.tar`, ..., `index.json` and `SHA256SUMS`. The last has the
checksums of the others in the format of `sha256sum`, so that `sha256sum -c SHA256SUMS` checks a copy.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from data.datasets.records import Dataset, Record
from data.errors import DatasetError
from data.images.image_slice import ImageSlice, Shard

INDEX, CHECKSUMS = "index.json", "SHA256SUMS"
VERSION = 1


@dataclass(frozen=True, slots=True)
class PackedSample:
    """Image of a packed split, and its place.

    Attributes:
        record: the annotations, in pixels of the packed image.
        shard: number of the shard.
        name: name of the image in it.
        offset, length, crc32: as in `ImageSlice`.
    """

    record: Record
    shard: int
    name: str
    offset: int
    length: int
    crc32: int


def folder_name(split: str) -> str:
    """Return the name of a split's folder: the split, with characters escaped that a file name cannot have."""
    name = quote(split, safe=" ,+=@")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def annotation(record: Record) -> dict[str, Any]:
    """Return the annotations of a record as JSON values: an entry of the index, and the .json beside its image."""
    return {
        "image_id": record.image_id,
        "size": None if record.size is None else list(record.size),
        "boxes": record.boxes.tolist(),
        "labels": record.labels.tolist(),
        "difficult": record.difficult.tolist(),
        "crowd": record.crowd.tolist(),
        "areas": record.areas.tolist(),
    }


def write_index(
    folder: Path, dataset: Dataset, shards: list[Shard], samples: list[PackedSample], packing: dict[str, Any]
) -> None:
    """Write the index and the checksums of a packed split.

    Args:
        folder: the split's folder, with the shards in it.
        dataset: the dataset that was packed.
        shards: its shards.
        samples: its images, in the order of the records.
        packing: how the images were packed, for the reader of the file.
    """
    content = {
        "version": VERSION,
        "dataset": dataset.name,
        "split": dataset.split,
        "class_names": list(dataset.class_names),
        "packing": packing,
        "warnings": dataset.warnings,
        "unreadable": dataset.unreadable,
        "shards": [{"file": shard.path.name, "size": shard.size} for shard in shards],
        "images": [
            {
                "shard": sample.shard,
                "name": sample.name,
                "offset": sample.offset,
                "length": sample.length,
                "crc32": sample.crc32,
                **annotation(sample.record),
            }
            for sample in samples
        ],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    (folder / INDEX).write_bytes(text)
    sums = {INDEX: hashlib.sha256(text).hexdigest()} | {shard.path.name: shard.sha256 for shard in shards}
    (folder / CHECKSUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8")


def read_index(folder: Path, in_memory: bool) -> Dataset:
    """Read a packed split; the shards are checked by their sizes, and those in memory by their checksums.

    Raises:
        DatasetError: an index or a shard that is missing, cut or altered.
    """
    sums = _checksums(folder / CHECKSUMS)
    file = folder / INDEX
    text = _bytes(file)
    if hashlib.sha256(text).hexdigest() != sums.get(INDEX):
        raise DatasetError(f"{file}: its SHA-256 is not that of {CHECKSUMS}; copy it again, or pack the dataset again")
    try:
        content = json.loads(text)
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}, this program reads version {VERSION}")
        shards = [
            Shard(folder / entry["file"], entry["size"], sums[entry["file"]], in_memory) for entry in content["shards"]
        ]
        records = [_record(entry, shards) for entry in content["images"]]
        dataset = Dataset(
            content["dataset"],
            content["split"],
            tuple(content["class_names"]),
            records,
            content["warnings"],
            content["unreadable"],
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{file}: not an index of a packed dataset ({what}); pack the dataset again") from None
    for shard in shards:
        shard.check()
    return dataset


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file}: {error.strerror}; copy it again, or pack the dataset again") from error


def _checksums(file: Path) -> dict[str, str]:
    """Return digest by file name."""
    lines = _bytes(file).decode("utf-8", errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _record(entry: dict[str, Any], shards: list[Shard]) -> Record:
    count = len(entry["labels"])
    return Record(
        ImageSlice(shards[entry["shard"]], entry["name"], entry["offset"], entry["length"], entry["crc32"]),
        entry["image_id"],
        np.array(entry["boxes"], dtype=np.float32).reshape(count, 4),
        np.array(entry["labels"], dtype=np.int64),
        np.array(entry["difficult"], dtype=bool),
        np.array(entry["crowd"], dtype=bool),
        np.array(entry["areas"], dtype=np.float32),
        None if entry["size"] is None else (entry["size"][0], entry["size"][1]),
    )
