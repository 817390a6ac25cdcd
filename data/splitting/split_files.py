"""Files of a split in the dataset's own format; images and labels stay where they are.

yolo: data.yaml, train.txt, val.txt. voc: train.txt, val.txt, lists for ImageSets/Main. coco: the images and objects of
each split in annotations/instances_train.json and so on.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path
from data.datasets.coco_annotations import text_id
from data.datasets.records import Dataset, Record
from data.errors import DatasetError

Splits = Mapping[str, Sequence[Record]]


def write_split(
    format_name: str, dataset: Dataset, content: dict[str, Any], splits: Splits, folder: Path
) -> list[Path]:
    """Write the files of a split; existing files are never replaced.

    Args:
        format_name: a key of `WRITERS`.
        dataset: the dataset that was split.
        content: for coco the original JSON; empty otherwise.
        splits: the records of each split.
        folder: the folder to write to.

    Returns:
        The files.

    Raises:
        DatasetError: one of them exists.
    """
    texts = WRITERS[format_name](dataset, content, splits, folder)
    files = [folder / name for name in texts]
    for file in files:
        if file.exists():
            raise DatasetError(f"{file} exists; delete it, or choose another --output")
    for file, text in zip(files, texts.values(), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return files


def _yolo(dataset: Dataset, content: dict[str, Any], splits: Splits, folder: Path) -> dict[str, str]:
    import yaml

    # "./" makes a line relative to the list's own folder, for other programs, too.
    texts = {
        f"{split}.txt": "".join(f"./{_relative(record, folder)}\n" for record in records)
        for split, records in splits.items()
    }
    settings = {split: f"{split}.txt" for split in splits} | {"names": dict(enumerate(dataset.class_names))}
    texts["data.yaml"] = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return texts


def _voc(dataset: Dataset, content: dict[str, Any], splits: Splits, folder: Path) -> dict[str, str]:
    return {f"{split}.txt": "".join(f"{record.image_id}\n" for record in records) for split, records in splits.items()}


def _coco(dataset: Dataset, content: dict[str, Any], splits: Splits, folder: Path) -> dict[str, str]:
    texts = {}
    for split, records in splits.items():
        names = {record.image_id: _relative(record, folder) for record in records}
        images = [
            image | {"file_name": names[key]} for image in content["images"] if (key := text_id(image["id"])) in names
        ]
        annotations = [item for item in content["annotations"] if text_id(item.get("image_id")) in names]
        part = content | {"images": images, "annotations": annotations}
        texts[f"annotations/instances_{split}.json"] = json.dumps(part, ensure_ascii=False)
    return texts


#: Writer by format: (dataset, JSON of coco, splits, folder) -> text by file name below the folder.
WRITERS: dict[str, Callable[[Dataset, dict[str, Any], Splits, Path], dict[str, str]]] = {
    "yolo": _yolo,
    "voc": _voc,
    "coco": _coco,
}


def _relative(record: Record, folder: Path) -> str:
    """Return an image's path relative to the folder, so that both can be moved together."""
    assert isinstance(record.image, Path)
    return Path(os.path.relpath(record.image, folder)).as_posix()
