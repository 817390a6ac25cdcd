"""Packing of a dataset's split into shards."""

import io
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from data.cpu_cores import usable_cores
from data.datasets.records import Dataset, Record
from data.errors import DatasetError, ImageError
from data.images.image_io import read_image
from data.images.image_slice import ImageFile
from data.images.prefetch import prefetch
from data.packed.packed_index import PackedSample, annotation, folder_name, write_index
from data.packed.shard_writer import ShardWriter

ImageFormat = Literal["jpeg", "webp"]
SUFFIXES: dict[ImageFormat, str] = {"jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """Packing options.

    Attributes:
        max_side: a larger image is reduced so that its longer side has so many pixels; None keeps all sizes.
        format: encodes all images. None keeps the file of an image that keeps its size, and encodes others as JPEG.
        quality: 1 to 100, of the images that are encoded.
        shard_size: largest size of a shard in bytes.
    """

    max_side: int | None = None
    format: ImageFormat | None = None
    quality: int = 90
    shard_size: int = 30_000_000


@dataclass(frozen=True, slots=True)
class PackedSplit:
    """Result of `pack_split`: the folder, and the numbers of its images, objects, shards and bytes."""

    folder: Path
    images: int
    objects: int
    shards: int
    size: int


def pack_split(
    dataset: Dataset, output: Path, options: PackOptions, progress: Callable[[int], object] = lambda count: None
) -> PackedSplit:
    """Pack a split into a folder of its name below `output`.

    It is written to a hidden folder, which is renamed when it is complete. An error removes it; one that an interrupted
    run left is replaced by the next.

    Args:
        dataset: the split.
        output: folder of all packed splits.
        options: how the images are packed.
        progress: called with the number of images after each.

    Raises:
        DatasetError: the split is packed there already, or an image cannot be read.
        SettingsError: an image that is larger than a shard.
    """
    name = folder_name(dataset.split)
    folder, partial = output / name, output / f".{name}.partial"
    if folder.exists():
        raise DatasetError(f"{folder} exists; delete it, or choose another --output")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        packed = _write(dataset, partial, options, progress)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return replace(packed, folder=folder)


def _write(dataset: Dataset, folder: Path, options: PackOptions, progress: Callable[[int], object]) -> PackedSplit:
    samples: list[PackedSample] = []
    with ShardWriter(folder, folder_name(dataset.split), options.shard_size) as writer:
        encoded = prefetch(dataset.records, lambda record: _encode(record, options), workers=usable_cores(), ahead=32)
        for _, result in encoded:
            if isinstance(result, ImageError):
                raise DatasetError(f"{result}; repair the dataset, then pack it") from result
            content, suffix, packed = result
            key = f"{len(samples):08}"  # WebDataset ends a key at the first dot, which an image_id may have
            text = json.dumps(annotation(packed), ensure_ascii=False).encode()
            shard, (offset, _) = writer.add({key + suffix: content, key + ".json": text})
            samples.append(PackedSample(packed, shard, key + suffix, offset, len(content), zlib.crc32(content)))
            progress(1)
        shards = writer.finish()
    packing = {"max_side": options.max_side, "format": options.format, "quality": options.quality}
    write_index(folder, dataset, shards, samples, packing)
    objects = sum(len(record.labels) for record in dataset.records)
    return PackedSplit(folder, len(samples), objects, len(shards), sum(shard.size for shard in shards))


def _encode(record: Record, options: PackOptions) -> tuple[bytes, str, Record]:
    """Return the content of the packed file, its suffix, and the record in pixels of the packed image."""
    rgb = read_image(record.image)
    height, width = rgb.shape[:2]
    longer = max(width, height)
    reduced = options.max_side is not None and longer > options.max_side
    if not reduced and options.format is None:
        return record.image.read_bytes(), _suffix(record.image), record
    if reduced:
        assert options.max_side is not None
        size = [max(1, round(side * options.max_side / longer)) for side in (width, height)]
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        record = _scaled(record, size[0] / width, size[1] / height)
    form = options.format or "jpeg"
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, format=form, quality=options.quality)
    return content.getvalue(), SUFFIXES[form], record


def _suffix(image: ImageFile) -> str:
    return Path(image.name).suffix.lower()


def _scaled(record: Record, across: float, down: float) -> Record:
    """Return a record whose image was resized by these factors."""
    size = record.size
    return replace(
        record,
        boxes=record.boxes * np.array([across, down, across, down], dtype=np.float32),
        areas=record.areas * np.float32(across * down),
        size=None if size is None else (round(size[0] * across), round(size[1] * down)),
    )
