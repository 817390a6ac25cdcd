"""Reader of COCO: instances JSON and the images that it lists."""

import json
from pathlib import Path
from typing import Any

from data.datasets.coco_annotations import CocoObject, parse_categories, parse_object, relative_boxes, text_id
from data.datasets.record_builder import build_record, read_size_or_none
from data.datasets.records import Dataset, MissingSplitError, Record
from data.errors import DatasetError
from data.files.file_finder import FileFinder
from data.files.text_files import decode_text

#: Places of a split's JSON below the root: COCO's own, the test sets' (without objects), those of other tools.
_JSON_PLACES = (
    "annotations/instances_{split}.json",
    "annotations/image_info_{split}.json",
    "annotations/{split}.json",
    "{split}.json",
    "{split}/_annotations.coco.json",
    "{split}/annotations.json",
    "{split}/annotations/instances_default.json",
    "{split}/labels.json",
    "{split}/result.json",
    "annotations/{split}/instances_default.json",
)
#: Begins of the names of COCO's other files in annotations/.
_OTHER_JSON = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_")
_IMAGE_PLACES = ("{split}", "images/{split}", "train/{split}", "{split}/images", "{split}/data", "images", "")


def read_coco(root: Path, split: str) -> Dataset:
    """Read a split of COCO or of a dataset in its format.

    Labels are 0-based and contiguous in the order of the category ids, which may have gaps (`category_ids` is the
    inverse). Categories with one name are one class, and a group of classes (Roboflow) is none. `image_id` is the id of
    the image as text, `areas` are the areas of the segments. Crowd boxes are read and marked. Boxes from 0 to 1 in the
    whole file are taken as relative. A faulty annotation is dropped with a warning that gives its id.

    Args:
        root: the folder with `annotations/instances_SPLIT.json` (or SPLIT.json, or SPLIT/_annotations.coco.json) and
            the images in `SPLIT/`, `images/SPLIT/` or `images/`; images are also found by a unique base name.
        split: for example "val2017".

    Raises:
        DatasetError: no such split, damaged JSON, no categories, no images.
    """
    root = Path(root)
    file = _json_file(root, split)
    content = _load(file)
    warnings: list[str] = []
    images = _images(content, file, warnings)
    categories = parse_categories(content["categories"], _annotations(content), str(file), warnings)
    objects = _objects(content, images, categories.labels, file.name, warnings)
    relative = relative_boxes(item for found in objects.values() for item in found)
    if relative:
        warnings.append(f"boxes from 0 to 1, taken as relative to the image: all of {file}")
    folders = [file.parent] if not file.parent.name.startswith("annotations") and file.parent != root else []
    folders += [root / place.format(split=split) for place in _IMAGE_PLACES]
    finder = FileFinder(folders, root)
    paths = {key: finder.find(str(image["file_name"])) for key, image in images.items()}
    if not any(paths.values()):
        first = next(iter(images.values()))["file_name"]
        raise DatasetError(
            f"{root}: all {len(images)} images of {split} are missing, the first is {Path(first).name}; "
            f"expected them in {root / split} or {root / 'images' / split}"
        )
    for key in _join_entries(paths, objects, images, file.name, warnings):
        del images[key]
    records = [
        # A missing image is kept, for `check_headers` to report.
        _record(paths[key] or folders[0] / str(image["file_name"]), key, image, objects[key], relative, file, warnings)
        for key, image in images.items()
    ]
    return Dataset("coco", split, categories.names, records, warnings)


def category_ids(root: Path, split: str) -> tuple[int, ...]:
    """Return the file's category id of each label, as COCO's evaluation server expects it (1..90 for COCO's 80)."""
    content = read_json(root, split)
    return parse_categories(content["categories"], _annotations(content), split, []).ids


def read_json(root: Path, split: str) -> dict[str, Any]:
    """Return the content of a split's JSON, with lists images and categories; DatasetError as `read_coco`."""
    return _load(_json_file(Path(root), split))


def _json_file(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected the root of a COCO dataset")
    for place in _JSON_PLACES:
        file = root / place.format(split=split)
        if file.is_file():
            return file
    raise MissingSplitError(
        f"{root}: no split {split!r} (annotations/instances_{split}.json); "
        f"there are {', '.join(coco_splits(root)) or 'none'}"
    )


def coco_splits(root: Path) -> list[str]:
    """Return the names of the splits with annotations below a root, training first."""
    found = {file.stem.removeprefix("instances_") for file in root.glob("annotations/*.json")}
    found = {name for name in found if not name.startswith(_OTHER_JSON)}
    for place in _JSON_PLACES[4:]:
        parent, _, rest = place.partition("{split}")
        found |= {file.relative_to(root / parent).parts[0] for file in root.glob(f"{parent}*{rest}")}
    found.discard("annotations")
    return sorted(found or {file.stem for file in root.glob("*.json")}, key=lambda name: ("train" not in name, name))


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(decode_text(file.read_bytes()))
    except ValueError as error:
        raise DatasetError(f"{file}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{file}: a JSON {type(content).__name__}; expected an object with images and categories")
    for key in ("categories", "images"):
        if not isinstance(content.get(key), list):
            found = f"no {key!r}" if key not in content else f"{key!r} is a {type(content[key]).__name__}"
            raise DatasetError(f"{file}: not COCO instances ({found}); expected lists images, annotations, categories")
    return content


def _annotations(content: dict[str, Any]) -> list[Any]:
    found = content.get("annotations")
    return found if isinstance(found, list) else []


def _images(content: dict[str, Any], file: Path, warnings: list[str]) -> dict[str, dict[str, Any]]:
    """Return the listed images by their ids as text; one without an id or a file name is dropped with a warning."""
    images: dict[str, dict[str, Any]] = {}
    for number, image in enumerate(content["images"]):
        key = text_id(image.get("id")) if isinstance(image, dict) else None
        if key is None or not image.get("file_name"):
            warnings.append(f"image dropped, it has no id or no file_name: {file.name}: images[{number}]")
        elif key in images:
            warnings.append(f"image dropped, another one has its id: {file.name}: {image['file_name']} (id {key})")
        else:
            images[key] = image
    if not images:
        raise DatasetError(f"{file}: lists no images")
    return images


def _objects(
    content: dict[str, Any], images: dict[str, dict[str, Any]], labels: dict[str, int], where: str, warnings: list[str]
) -> dict[str, list[CocoObject]]:
    """Return the objects of each image; a faulty annotation is dropped with a warning."""
    objects: dict[str, list[CocoObject]] = {key: [] for key in images}
    for number, item in enumerate(_annotations(content)):
        try:
            image, found = parse_object(item, labels)
            if image not in objects:
                raise DatasetError(f"of image {image}, which the file does not list")
            objects[image].append(found)
        except DatasetError as error:
            name = text_id(item.get("id")) if isinstance(item, dict) else None
            warnings.append(
                f"annotation dropped: {where}: {f'annotations[{number}]' if name is None else f'id {name}'} {error}"
            )
    return objects


def _join_entries(
    paths: dict[str, Path | None],
    objects: dict[str, list[CocoObject]],
    images: dict[str, dict[str, Any]],
    where: str,
    warnings: list[str],
) -> list[str]:
    """Give the objects of all entries of one file to the first entry; returns the ids of the others.

    Merged exports list an image twice, with some of its objects each: the others would be background.
    """
    first: dict[Path, str] = {}
    others = []
    for key, path in paths.items():
        if path is None or first.setdefault(path, key) == key:
            continue
        others.append(key)
        objects[first[path]] += objects[key]
        warnings.append(
            f"image listed twice, the objects of both entries are taken: {where}: {images[key]['file_name']} "
            f"(ids {first[path]}, {key})"
        )
    return others


def _record(
    path: Path,
    image_id: str,
    image: dict[str, Any],
    objects: list[CocoObject],
    relative: bool,
    file: Path,
    warnings: list[str],
) -> Record:
    size = _size(image) or read_size_or_none(path)
    scale = size if relative and size is not None else (1, 1)
    corners = [
        [item.x * scale[0], item.y * scale[1], (item.x + item.width) * scale[0], (item.y + item.height) * scale[1]]
        for item in objects
    ]
    areas = [
        item.width * scale[0] * item.height * scale[1] if item.area is None or relative else item.area
        for item in objects
    ]
    return build_record(
        path,
        image_id,
        corners,
        [item.label for item in objects],
        crowd=[item.crowd for item in objects],
        areas=areas,
        size=size,
        where=f"{file.name}: image {image_id}",
        warnings=warnings,
    )


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Return the annotated (width, height); None where one is missing or not above 0."""
    try:
        size = int(float(image["width"])), int(float(image["height"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None
