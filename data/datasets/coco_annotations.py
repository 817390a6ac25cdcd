"""COCO's categories and annotations as tools export them: missing values are computed, faulty ones are errors."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from data.errors import DatasetError

#: Sides of boxes up to this are relative to the image, where all boxes of a file are.
_RELATIVE = 1.001
#: Compressed run lengths; a text that ends within a number would be read beyond its end.
_RLE = re.compile("[0-o]*[0-O]")
#: Sides of masks are below this: pycocotools counts the pixels in 32 bits.
_LONGEST_SIDE = 2**16


class CocoObject(NamedTuple):
    """One object: label, box as COCO's x, y, width, height, area of its segment (None: not given), crowd flag."""

    label: int
    x: float
    y: float
    width: float
    height: float
    area: float | None
    crowd: bool


class CocoCategories(NamedTuple):
    """Categories as classes.

    Attributes:
        names: class names by label.
        ids: the category id of each label (of the first one, where several have the name); the label itself where an
            id is no number.
        labels: label by category id as text.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    labels: dict[str, int]


def text_id(value: object) -> str | None:
    """Return an id, a number or text, as text, so that 7, 7.0 and "7" are equal; None for anything else."""
    if type(value) is int:  # nearly all, of 860,000 annotations
        return str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip() or None


def parse_categories(
    categories: Sequence[Any], annotations: Sequence[Any], where: str, warnings: list[str]
) -> CocoCategories:
    """Return the classes in the order of the category ids.

    A category without annotations is a group, and no class, where others name it as their supercategory or have its
    name. Other categories of one name are one class, with a warning.

    Args:
        categories: the file's list.
        annotations: the file's annotations, which tell which categories are in use.
        where: the file, for messages.
        warnings: list that lines are appended to.

    Raises:
        DatasetError: no categories, two with one id.
    """
    names: dict[str, str] = {}
    parents = Counter[str]()
    for number, category in enumerate(categories):
        key = text_id(category.get("id")) if isinstance(category, dict) else None
        if key is None:
            warnings.append(f"category dropped, it has no id: {where}: categories[{number}]")
            continue
        if key in names:
            raise DatasetError(f"{where}: two categories with one id ({key})")
        names[key] = _text(category.get("name"))
        parents[_text(category.get("supercategory"))] += _text(category.get("supercategory")) != names[key]
    if not names:
        raise DatasetError(f"{where}: no categories")
    used = {text_id(item.get("category_id")) for item in annotations if isinstance(item, dict)}
    same = Counter(names.values())
    groups = [key for key, name in names.items() if name and key not in used and (parents[name] or same[name] > 1)]
    for key in sorted(groups, key=_order):
        if same[names[key]] > 1 or parents[names[key]]:
            same[names[key]] -= 1
            if len(names) > 1:
                del names[key]
    labels: dict[str, int] = {}
    by_name: dict[str, int] = {}
    ids: list[int] = []
    for key in sorted(names, key=_order):
        name = names[key]
        if name in by_name and name:
            warnings.append(f"categories of one name, taken as one class: {where}: {name!r} (id {key})")
            labels[key] = by_name[name]
            continue
        labels[key] = len(ids)
        by_name[name] = len(ids)
        ids.append(int(key) if key.lstrip("-").isdecimal() else len(ids))
    class_names = [""] * len(ids)
    for key, label in labels.items():
        class_names[label] = names[key]
    return CocoCategories(tuple(class_names), tuple(ids), labels)


def parse_object(item: Any, labels: dict[str, int]) -> tuple[str, CocoObject]:
    """Parse an annotation -> id of its image as text, object.

    A missing box is computed from the segment, polygons or a mask in run-length encoding; a missing area is None.

    Args:
        item: the annotation.
        labels: label by category id as text.

    Raises:
        DatasetError: the reason why the annotation cannot be used.
    """
    if not isinstance(item, dict):
        raise DatasetError(f"is a {type(item).__name__}, expected an object")
    image, category = text_id(item.get("image_id")), text_id(item.get("category_id"))
    if image is None:
        raise DatasetError(f"has image_id {item.get('image_id')!r}")
    if category not in labels:
        raise DatasetError(f"of image {image} is of category {item.get('category_id')!r}, which the file does not list")
    box = _numbers(item.get("bbox"))
    if len(box) != 4:
        segment = item.get("segmentation")
        box = _mask_box(segment) if isinstance(segment, dict) else _polygons_box(segment)
        if len(box) != 4:
            raise DatasetError(f"of image {image} has bbox {item.get('bbox')!r}, expected [x, y, width, height]")
    area = item.get("area")
    if type(area) is not float:
        area = next(iter(_numbers([area])), 0.0)
    known = area if 0 < area < math.inf else None
    x, y, width, height = box
    return image, CocoObject(labels[category], x, y, width, height, known, _flag(item.get("iscrowd")))


def relative_boxes(objects: Iterable[CocoObject]) -> bool:
    """Whether all boxes, of at least one object, are within 0 to 1: relative to their images instead of in pixels."""
    count = 0
    for item in objects:
        if item.x + item.width > _RELATIVE or item.y + item.height > _RELATIVE or min(item.x, item.y) < 1 - _RELATIVE:
            return False
        count += item.width > 0 and item.height > 0
    return count > 0


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _order(key: str) -> tuple[bool, int, str]:
    """Sort numbers by value, before other ids."""
    number = key.lstrip("-").isdecimal()
    return not number, int(key) if number else 0, key


def _numbers(values: object) -> list[float]:
    """Return a list's values as finite numbers, also those written as text; empty where one is none."""
    if not isinstance(values, list):
        return []
    try:
        numbers = list(map(float, values))
    except (TypeError, ValueError, OverflowError):
        return []
    return numbers if math.isfinite(sum(numbers)) else []


def _polygons_box(segments: object) -> list[float]:
    """Return the box around the polygons of a segment as x, y, width, height; empty where there are none."""
    points = [value for polygon in segments for value in _numbers(polygon)] if isinstance(segments, list) else []
    if len(points) < 6 or len(points) % 2:
        return []
    xs, ys = points[0::2], points[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _mask_box(segment: dict[str, Any]) -> list[float]:
    """Return the box around a mask in run-length encoding as x, y, width, height; empty where there is none."""
    size, counts = _numbers(segment.get("size")), segment.get("counts")
    if len(size) != 2 or not all(1 <= side < _LONGEST_SIDE for side in size):
        return []
    height, width = map(int, size)
    from pycocotools import mask

    if isinstance(counts, str) and _RLE.fullmatch(counts):
        encoded = {"size": [height, width], "counts": counts.encode()}
    elif (runs := _numbers(counts)) and min(runs) >= 0 and sum(runs) == height * width:
        encoded = mask.frPyObjects({"size": [height, width], "counts": list(map(int, runs))}, height, width)
    else:
        return []
    box: list[float] = mask.toBbox(encoded).tolist()
    return box if min(box[2:]) > 0 else []


def _flag(value: object) -> bool:
    """Return a flag that may be written as a number or text."""
    return value.strip().lower() not in ("", "0", "false", "no") if isinstance(value, str) else bool(value)
