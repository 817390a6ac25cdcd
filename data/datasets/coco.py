"""Reader of COCO: instances JSON and the images that it lists."""

import json
from pathlib import Path
from typing import Any

from data.datasets.file_finder import file_names
from data.datasets.record_builder import build_record
from data.datasets.records import Dataset, Record
from data.errors import DatasetError

#: Places of a split's JSON below the root: COCO's own, the test sets' (without objects), simpler ones.
_JSON_PLACES = (
    "annotations/instances_{split}.json",
    "annotations/image_info_{split}.json",
    "annotations/{split}.json",
    "{split}.json",
    "{split}/_annotations.coco.json",
)
_IMAGE_PLACES = ("{split}", "images/{split}", "train/{split}", "images", "")


def read_coco(root: Path, split: str) -> Dataset:
    """Read a split of COCO or of a dataset in its format.

    Labels are 0-based and contiguous in the order of the category ids, which may have gaps (`category_ids` is the
    inverse). `image_id` is the number of the image as text, `areas` are the areas of the segments. Crowd boxes are read
    and marked.

    Args:
        root: the folder with `annotations/instances_SPLIT.json` (or SPLIT.json, or SPLIT/_annotations.coco.json) and
            the images in `SPLIT/`, `images/SPLIT/` or `images/`.
        split: for example "val2017".

    Raises:
        DatasetError: no such split, damaged JSON, an annotation of an unknown image or category, a missing image.
    """
    root = Path(root)
    file = _json_file(root, split)
    content = _load(file)
    try:
        ids = _category_ids(content)
        labels = {category: label for label, category in enumerate(ids)}
        names = {int(category["id"]): str(category["name"]).strip() for category in content["categories"]}
        objects: dict[int, list[dict[str, Any]]] = {int(image["id"]): [] for image in content["images"]}
        for item in content.get("annotations", ()):
            if int(item["image_id"]) not in objects or int(item["category_id"]) not in labels:
                raise DatasetError(
                    f"{file}: annotation {item.get('id', '?')} is of image {item['image_id']} and category "
                    f"{item['category_id']}, which the file does not list"
                )
            objects[int(item["image_id"])].append(item)
        finder = _ImageFinder(root, split, file)
        warnings: list[str] = []
        records = [
            _record(image, objects[int(image["id"])], labels, finder, file, warnings) for image in content["images"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(
            f"{file}: not COCO instances ({what}); expected lists images, annotations, categories"
        ) from None
    if finder.missing:
        raise DatasetError(
            f"{root}: {len(finder.missing)} of {len(records)} images of {split} are missing, the first is "
            f"{finder.missing[0]}; expected them in {root / split} or {root / 'images' / split}"
        )
    if not records:
        raise DatasetError(f"{file}: the split {split!r} lists no images")
    if len(objects) != len(records):
        raise DatasetError(f"{file}: {len(records) - len(objects)} images share their id with another one")
    return Dataset("coco", split, tuple(names[category] for category in ids), records, warnings)


def category_ids(root: Path, split: str) -> tuple[int, ...]:
    """Return the file's category id of each label, as COCO's evaluation server expects it (1..90 for COCO's 80)."""
    return _category_ids(_load(_json_file(Path(root), split)))


def _category_ids(content: dict[str, Any]) -> tuple[int, ...]:
    ids = sorted(int(category["id"]) for category in content["categories"])
    if len(set(ids)) != len(ids) or not ids:
        raise ValueError("two categories with one id" if ids else "no categories")
    return tuple(ids)


def _json_file(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected the root of a COCO dataset")
    for place in _JSON_PLACES:
        file = root / place.format(split=split)
        if file.is_file():
            return file
    there = {f.stem.removeprefix("instances_") for f in root.glob("annotations/instances_*.json")}
    there |= {f.parent.name for f in root.glob("*/_annotations.coco.json")}
    there |= {f.stem for f in root.glob("*.json")}
    raise DatasetError(
        f"{root}: no split {split!r} (annotations/instances_{split}.json); "
        f"there are {', '.join(sorted(there)) or 'none'}"
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise DatasetError(f"{file}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{file}: a JSON {type(content).__name__}; expected an object with images and categories")
    return content


class _ImageFinder:
    """Finds image files by listing each folder once instead of a stat call for each of 118,000 files."""

    def __init__(self, root: Path, split: str, file: Path) -> None:
        self._folders = [file.parent] if file.name == "_annotations.coco.json" else []
        self._folders += [root / place.format(split=split) for place in _IMAGE_PLACES]
        self._names: dict[Path, frozenset[str]] = {}
        self.missing: list[str] = []

    def find(self, file_name: str) -> Path:
        for folder in self._folders:
            path = folder / file_name
            if path.parent not in self._names:
                self._names[path.parent] = file_names(path.parent)
            if path.name in self._names[path.parent]:
                return path
        self.missing.append(file_name)
        return self._folders[0] / file_name


def _record(
    image: dict[str, Any],
    objects: list[dict[str, Any]],
    labels: dict[int, int],
    finder: _ImageFinder,
    file: Path,
    warnings: list[str],
) -> Record:
    corners = []
    for item in objects:
        x, y, width, height = (float(value) for value in item["bbox"])
        corners.append([x, y, x + width, y + height])
    return build_record(
        finder.find(str(image["file_name"])),
        str(int(image["id"])),
        corners,
        [labels[int(item["category_id"])] for item in objects],
        crowd=[bool(item.get("iscrowd", 0)) for item in objects],
        areas=[
            float(item["area"]) if "area" in item else float(item["bbox"][2]) * float(item["bbox"][3])
            for item in objects
        ],
        size=(int(image["width"]), int(image["height"])),
        where=f"{file.name}: image {image['id']}",
        warnings=warnings,
    )
