"""Records and datasets of noise images."""

from pathlib import Path

import numpy as np
from PIL import Image

from data.datasets.records import Dataset, Record

CAT, DOG = 0, 1


def make_image(path: Path, width: int = 200, height: int = 120, seed: int = 0) -> Path:
    """An image of noise, so that seeds make different files."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def damaged_png(path: Path) -> Path:
    """An image of noise with altered bytes in its middle: its header and its end are whole."""
    content = bytearray(make_image(path).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    return path


def record(
    path: Path,
    boxes: list[list[float]],
    labels: list[int],
    size: tuple[int, int] | None = (200, 120),
    crowd: list[int] | None = None,
) -> Record:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    areas = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    crowds = np.zeros(len(labels), bool) if crowd is None else np.array(crowd, bool)
    return Record(path, path.stem, xyxy, np.array(labels, np.int64), np.zeros(len(labels), bool), crowds, areas, size)


def dataset(records: list[Record], split: str = "train", warnings: list[str] | None = None) -> Dataset:
    return Dataset("voc", split, ("cat", "dog"), records, warnings or [])
