"""Reader of YOLO: a yaml file with splits and class names, and a text file of relative boxes for each image."""

from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.record_builder import build_record, read_size_or_none
from data.datasets.records import Dataset, MissingSplitError, Record
from data.datasets.yolo_labels import LabelFiles, LabelParser
from data.errors import DatasetError, ImageError
from data.files.file_finder import FileFinder
from data.files.text_files import decode_text, read_text
from data.images.image_io import find_images

#: Names of a split's key in the yaml; tools write one of each row.
_ALIASES = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))


def read_yolo(root: Path, split: str) -> Dataset:
    """Read a split of a YOLO dataset.

    The yaml holds `names` (a list, or a dict by number; every name is text, also `yes` and `null`), optionally `path`
    (the dataset's folder, relative to the yaml's), and for each split a folder of images, a .txt with one image per
    line, or a list of these. With `kpt_shape: [K, D]` the label lines have keypoints. The label files and their lines
    are described in `data.datasets.yolo_labels`. An image without a label file has no objects; `warnings` gives the
    number of these. A faulty line is dropped with a warning.

    Args:
        root: the yaml, or the folder that holds it.
        split: "train", "val" or "test", a key of the yaml.

    Raises:
        DatasetError: no yaml or split, or no image.
    """
    file = _yaml_file(Path(root))
    settings = _load(file)
    names = _names(settings, file)
    folder = file.parent / (_text(settings, "path") or ".")
    if not folder.is_dir():
        folder = file.parent  # a path of another machine: the yaml is usually in the dataset's own folder
    parts = _split(settings, split, file)
    images = [path for part in parts for path in _part(folder, part, file)]
    if not images:
        raise DatasetError(f"{file}: the split {split!r} lists no images")
    warnings: list[str] = []
    labels = LabelFiles()
    parser = LabelParser(len(names), _keypoint_values(settings, file))
    images = list(dict.fromkeys(images))
    records = [_record(path, folder, labels.find(path), parser, warnings) for path in images]
    return Dataset("yolo", split, names, records, [*labels.warnings(len(images)), *warnings])


def yolo_splits(root: Path) -> list[str]:
    """Return the names of the splits that a dataset's yaml has, training first."""
    settings = _load(_yaml_file(root))
    return [row[0] for row in _ALIASES if any(_has(settings, key) for key in row)]


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
    """Parse the yaml with all values as text: `yes`, `no`, `null` and numbers are names of classes."""
    import yaml

    try:
        content = yaml.load(decode_text(file.read_bytes()), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise DatasetError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{file}: holds a {type(content).__name__}; expected keys names, train, val")
    return content


def _text(settings: dict[str, Any], key: str) -> str:
    """Return a value as text; empty where it is missing or YAML's null."""
    value = str(settings.get(key) or "")
    return "" if value.lower() in ("~", "null") else value


def _has(settings: dict[str, Any], key: str) -> bool:
    return bool(settings.get(key)) and bool(_text(settings, key))


def _names(settings: dict[str, Any], file: Path) -> tuple[str, ...]:
    names = settings.get("names")
    if isinstance(names, dict):
        by_number = {int(key): name for key, name in names.items() if key.isdecimal()}
        if set(by_number) != set(range(len(names))):
            found = ", ".join(sorted(names, key=lambda key: (len(key), key)))
            raise DatasetError(f"{file}: the numbers in names are [{found}]; expected 0, 1, 2, ...")
        names = [by_number[number] for number in range(len(by_number))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{file}: names is {names!r}; expected a list of the class names")
    if _text(settings, "nc") not in ("", str(len(names))):
        raise DatasetError(f"{file}: nc is {settings['nc']}, but there are {len(names)} names")
    return tuple(name.strip() if isinstance(name, str) else "" for name in names)


def _keypoint_values(settings: dict[str, Any], file: Path) -> int | None:
    """Return the number of keypoint values on a line, K × D of `kpt_shape: [K, D]`; None without that key."""
    shape = settings.get("kpt_shape")
    if not shape or shape in ("~", "null"):
        return None
    if not isinstance(shape, list) or len(shape) != 2 or not all(str(value).isdecimal() for value in shape):
        raise DatasetError(f"{file}: kpt_shape is {shape!r}; expected two numbers: keypoints, values of each")
    return int(shape[0]) * int(shape[1])


def _split(settings: dict[str, Any], split: str, file: Path) -> list[str]:
    keys = next((row for row in _ALIASES if split in row), ())
    for key in (split, *keys):
        parts = settings.get(key)
        if isinstance(parts, list) and parts:
            return [str(part) for part in parts]
        if _text(settings, key):
            return [str(parts)]
    there = [key for row in _ALIASES for key in row if _has(settings, key)]
    raise MissingSplitError(f"{file}: no split {split!r}; there are {', '.join(there) or 'none'}")


def _part(folder: Path, part: str, file: Path) -> list[Path]:
    """Return the images of one entry: a folder, or a .txt that lists them."""
    part = part.replace("\\", "/")
    # Roboflow writes ../train/images for a folder next to the yaml; the rest is for paths of another machine.
    tails = ["/".join(part.split("/")[start:]) for start in (-3, -2, -1)]
    below = [part, part.removeprefix("../"), *(tail for tail in tails if tail.lower() != "images")]
    place = next((folder / tail for tail in below if (folder / tail).exists()), folder / part)
    if place.is_dir():
        try:
            return find_images([place])
        except ImageError as error:
            raise DatasetError(f"{file}: {error}") from None
    if place.suffix.lower() == ".txt" and place.is_file():
        lines = [line.strip() for line in read_text(place).splitlines()]
        finders = [FileFinder(folders, folder) for folders in ([folder, place.parent], [place.parent, folder])]
        # After ./ a line is relative to the list's folder. A missing image is kept, for `check_headers` to report.
        return [finders[line.startswith("./")].find(line) or folder / line for line in lines if line]
    raise DatasetError(f"{file}: {part!r} is neither a folder nor a .txt below {folder}")


def _record(image: Path, folder: Path, file: Path | None, parser: LabelParser, warnings: list[str]) -> Record:
    """Return the record of an image and its label file; without objects where the image's header cannot be read."""
    size = read_size_or_none(image)
    labels, boxes = ([], []) if file is None or size is None else parser.read(file, warnings)
    pixels = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * [*(size or (0, 0)), *(size or (0, 0))]
    image_id = image.relative_to(folder) if image.is_relative_to(folder) else image
    return build_record(image, image_id.as_posix(), pixels, labels, size=size, where=str(file), warnings=warnings)
