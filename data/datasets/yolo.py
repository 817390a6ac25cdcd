"""Reader of YOLO: a yaml file with splits and class names, and a text file of relative boxes for each image."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.record_builder import build_record
from data.datasets.records import Dataset, Record
from data.errors import DatasetError
from data.images.image_io import find_images, read_size


def read_yolo(root: Path, split: str) -> Dataset:
    """Read a split of a YOLO dataset.

    The yaml holds `names` (a list, or a dict by number), optionally `path` (the dataset's folder, relative to the
    yaml's), and for each split a folder of images, a .txt with one image per line, or a list of these. The labels of
    `.../images/a.jpg` are in `.../labels/a.txt`, or in `a.txt` next to an image that is in no `images` folder: a
    line `class cx cy w h` relative to the image, or `class x1 y1 x2 y2 x3 y3 ...`, a polygon, which becomes the box
    around it. An image without a label file has no objects.

    Args:
        root: the yaml, or the folder that holds it.
        split: "train", "val" or "test", a key of the yaml.

    Raises:
        DatasetError: no yaml or split, a damaged line, a class without a name.
        ImageError: an image that is missing or damaged.
    """
    file = _yaml_file(Path(root))
    settings = _load(file)
    names = _names(settings, file)
    folder = file.parent / str(settings.get("path") or ".")
    if not folder.is_dir():
        folder = file.parent  # a path of another machine: the yaml is usually in the dataset's own folder
    parts = settings.get(split)
    if not parts:
        there = [key for key in ("train", "val", "test") if settings.get(key)]
        raise DatasetError(f"{file}: no split {split!r}; there are {', '.join(there) or 'none'}")
    images = [path for part in (parts if isinstance(parts, list) else [parts]) for path in _part(folder, part, file)]
    if not images:
        raise DatasetError(f"{file}: the split {split!r} lists no images")
    warnings: list[str] = []
    records = [_record(path, folder, names, warnings) for path in dict.fromkeys(images)]
    if not any(len(record.labels) for record in records):
        warnings.append(f"{file}: no labels in the split {split!r}; looked for {_label_file(images[0])} and so on")
    return Dataset("yolo", split, names, records, warnings)


def _yaml_file(root: Path) -> Path:
    if root.is_file():
        return root
    if not root.is_dir():
        raise DatasetError(f"{root}: no such file or folder; expected a YOLO dataset's yaml, or the folder with it")
    files = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    named = [file for file in files if file.stem in ("data", "dataset")]
    if len(named or files) == 1:
        return (named or files)[0]
    found = ", ".join(file.name for file in files) or "none"
    raise DatasetError(f"{root}: expected one yaml (data.yaml) in it, found {found}")


def _load(file: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{file}: holds a {type(content).__name__}; expected keys names, train, val")
    return content


def _names(settings: dict[str, Any], file: Path) -> tuple[str, ...]:
    names = settings.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DatasetError(f"{file}: the numbers in names are {sorted(names, key=str)}; expected 0, 1, 2, ...")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{file}: names is {names!r}; expected a list of the class names")
    if settings.get("nc", len(names)) != len(names):
        raise DatasetError(f"{file}: nc is {settings['nc']}, but there are {len(names)} names")
    return tuple(str(name) for name in names)


def _part(folder: Path, part: object, file: Path) -> list[Path]:
    """Return the images of one entry: a folder, or a .txt that lists them."""
    place = folder / str(part)
    if not place.exists():  # Roboflow writes ../train/images for a folder next to the yaml
        place = folder / str(part).removeprefix("../")
    if place.is_dir():
        return find_images([place])
    if place.suffix == ".txt" and place.is_file():
        lines = [line.strip() for line in place.read_text(encoding="utf-8-sig").splitlines()]
        return [_listed(line, place.parent, folder) for line in lines if line]
    raise DatasetError(f"{file}: {part!r} is neither a folder nor a .txt below {folder}")


def _listed(line: str, list_folder: Path, folder: Path) -> Path:
    """Return the path in a line of a list: relative to the dataset's folder, or after ./ to the list's folder."""
    first, second = (list_folder, folder) if line.startswith("./") else (folder, list_folder)
    path = first / line
    return path if path.exists() else second / line


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):  # the last folder of that name
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _record(image: Path, folder: Path, names: tuple[str, ...], warnings: list[str]) -> Record:
    width, height = read_size(image)
    file = _label_file(image)
    boxes: list[list[float]] = []
    labels: list[int] = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        lines = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            label, box = _object(line, f"{file}, line {number}", len(names))
            labels.append(label)
            boxes.append(box)
    pixels = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * [width, height, width, height]
    image_id = image.relative_to(folder) if image.is_relative_to(folder) else image
    return build_record(
        image, image_id.as_posix(), pixels, labels, size=(width, height), where=str(file), warnings=warnings
    )


def _object(line: str, where: str, classes: int) -> tuple[int, list[float]]:
    """Parse a line into a label and a relative xyxy box."""
    try:
        first, *numbers = (float(value) for value in line.split())
    except ValueError:
        raise DatasetError(f"{where}: {line.strip()[:60]!r} is not a line of numbers") from None
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        raise DatasetError(f"{where}: {len(numbers) + 1} numbers; expected class cx cy w h, or class and a polygon")
    if not (first.is_integer() and 0 <= first < classes):
        raise DatasetError(f"{where}: class {first:g}, but the yaml has {classes} names, 0 to {classes - 1}")
    if not all(math.isfinite(value) and -1 <= value <= 2 for value in numbers):
        raise DatasetError(f"{where}: {line.strip()[:60]!r}; expected numbers relative to the image, 0 to 1")
    if len(numbers) == 4:
        cx, cy, w, h = numbers
        return int(first), [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
    xs, ys = numbers[0::2], numbers[1::2]
    return int(first), [min(xs), min(ys), max(xs), max(ys)]
