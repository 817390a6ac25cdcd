"""Stanford Cars, 196 models of cars with a box each, read from its official archives as they are unpacked.

Source: Krause, Stark, Deng, Fei-Fei, "3D Object Representations for Fine-Grained Categorization", 3dRR 2013. It was
published in two layouts, and both are read:

    devkit/cars_meta.mat, devkit/cars_train_annos.mat, cars_train/00001.jpg, cars_test/00001.jpg, and
    cars_test_annos_withlabels.mat next to devkit or in it
    cars_annos.mat, car_ims/000001.jpg
"""

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from data.errors import DatasetError

SPLITS = ("train", "test")
EXPECTED = "devkit, cars_train and cars_test, or cars_annos.mat and car_ims"
_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


class Cars(NamedTuple):
    """A split of Stanford Cars: class names; file, 0-based label and box of each image.

    labels: (N,) int64. boxes: (N, 4) float32 xyxy in continuous pixels, unclipped.
    """

    class_names: tuple[str, ...]
    files: list[Path]
    labels: np.ndarray
    boxes: np.ndarray


def read_cars(root: Path, split: str) -> Cars:
    """Read a split of Stanford Cars.

    Classes and boxes are 1-based inclusive in the files; the boxes become `[x1 - 1, y1 - 1, x2, y2]`, as VOC's.

    Args:
        root: the folder that the archives were unpacked into.
        split: "train" or "test".

    Raises:
        DatasetError: no such root or split, an annotation file that is missing, damaged or without the labels, a class
            without a name, an image that is missing.
    """
    if split not in SPLITS:
        raise DatasetError(f"no split {split!r} of cars; expected one of {', '.join(SPLITS)}")
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected {EXPECTED} in it")
    together = root / "cars_annos.mat"
    if together.is_file():
        file, meta = together, together
        rows = _rows(file, ("relative_im_path", "class", "test"))
        rows = rows[[bool(row["test"]) == (split == "test") for row in rows]]
        paths = [_inside(str(row["relative_im_path"]), file) for row in rows]
    elif (root / "devkit").is_dir():
        meta, file = root / "devkit" / "cars_meta.mat", _annotations(root, split)
        rows = _rows(file, ("fname", "class"))
        paths = [_inside(f"cars_{split}/{row['fname']}", file) for row in rows]
    else:
        found = sorted(path.name for path in root.iterdir())
        raise DatasetError(f"{root} has {', '.join(found[:5]) or 'nothing'} in it; expected {EXPECTED}")
    if not len(rows):
        raise DatasetError(f"{file} has no image of split {split!r}; get it again")
    names = _names(meta)
    labels = np.array([_number(row["class"], file) for row in rows], np.int64) - 1
    odd = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(odd):
        raise DatasetError(
            f"{file}: {paths[odd[0]].name} is of class {labels[odd[0]] + 1}, and {meta.name} names 1 to {len(names)}; "
            "the files do not belong together"
        )
    boxes = np.array([[_number(row[side], file) for side in _BOX] for row in rows], np.float32)
    boxes[:, :2] -= 1
    _check_files(root, paths, file)
    return Cars(names, [root / path for path in paths], labels, boxes)


def _annotations(root: Path, split: str) -> Path:
    """Return the split's annotation file; the test split's labels are in a separate file."""
    name = "cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"
    for folder in (root / "devkit", root):
        if (folder / name).is_file():
            return folder / name
    without = root / "devkit" / "cars_test_annos.mat"
    more = f" ({without.name} has no labels)" if split == "test" and without.is_file() else ""
    raise DatasetError(f"{root / 'devkit' / name} is missing{more}; get it from the dataset's page")


def _load(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    if not file.is_file():
        raise DatasetError(f"{file} is missing; unpack the devkit again")
    try:
        values: dict[str, Any] = loadmat(file, squeeze_me=True)
    except Exception as error:  # scipy's parser raises errors of any type on damaged data
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{file}: no MATLAB file that can be read ({reason}); get it again") from None
    return values


def _rows(file: Path, fields: tuple[str, ...]) -> np.ndarray:
    """Return the struct array `annotations`, (N,), with these fields and those of the box."""
    rows = _load(file).get("annotations")
    if rows is None:
        raise DatasetError(f"{file} has no variable 'annotations'; expected Stanford Cars' own annotation file")
    rows = np.atleast_1d(rows)
    missing = [name for name in (*fields, *_BOX) if name not in (rows.dtype.names or ())]
    if missing:
        raise DatasetError(f"{file}: its annotations have no field {missing[0]!r}; expected Stanford Cars' own file")
    return rows


def _names(file: Path) -> tuple[str, ...]:
    names = _load(file).get("class_names")
    if names is None:
        raise DatasetError(f"{file} has no variable 'class_names'; get it again")
    found = tuple(str(name).strip() for name in np.atleast_1d(names))
    if "" in found or "[]" in found or len(set(found)) < len(found):
        raise DatasetError(f"{file}: a class without a name, or two of one name; get it again")
    return found


def _number(value: Any, file: Path) -> int:
    number = np.asarray(value)
    if number.size != 1 or number.dtype.kind not in "uif":  # an empty cell, a text
        raise DatasetError(f"{file}: a class or a side of a box is {value!r}; expected a number")
    return int(number)


def _inside(path: str, file: Path) -> Path:
    """Return an image's relative path; DatasetError for one that leads out of the root."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path or len(pure.parts) < 2:
        raise DatasetError(f"{file}: {path!r} is no image's name below the root")
    return Path(pure)


def _check_files(root: Path, paths: list[Path], file: Path) -> None:
    """Raise DatasetError for missing images, by one directory listing per folder."""
    for folder in sorted({path.parent for path in paths}):
        here = {path.name for path in (root / folder).iterdir()} if (root / folder).is_dir() else set()
        missing = [path.name for path in paths if path.parent == folder and path.name not in here]
        if missing:
            raise DatasetError(
                f"{len(missing)} images of {file.name} are not in {root / folder}, the first {missing[0]}; unpack "
                "the archive again"
            )
