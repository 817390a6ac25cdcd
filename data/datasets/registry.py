"""The one place that knows the data sets by name."""

from collections.abc import Callable
from pathlib import Path

from data.datasets.coco import read_coco
from data.datasets.records import Dataset
from data.datasets.unlabelled import read_folder
from data.datasets.voc import read_voc
from data.datasets.yolo import read_yolo
from data.errors import DatasetError, SettingsError

_READERS: dict[str, Callable[[Path, str], Dataset]] = {
    "voc": read_voc,
    "coco": read_coco,
    "yolo": read_yolo,
    "folder": read_folder,
}
KINDS = tuple(_READERS)
#: (trained on, measured on) where nobody names a split
USUAL_SPLITS = {
    "voc": ("trainval", "2007-test"),
    "coco": ("train2017", "val2017"),
    "yolo": ("train", "val"),
}


def open_dataset(kind: str, root: Path | str, split: str) -> Dataset:
    """Read a split of a data set; see the readers for their layouts and splits.

    Args:
        kind: one of `KINDS`.
        root: the data set's folder (yolo: or its yaml file).
        split: the data set's name of the part, such as "2007-test" (voc) or "val2017" (coco).

    Raises:
        SettingsError: an unknown kind.
        DatasetError: a layout or an annotation that cannot be used.
    """
    try:
        reader = _READERS[kind]
    except KeyError:
        raise SettingsError(f"unknown data set kind {kind!r}; there are {', '.join(KINDS)}") from None
    root = Path(root)
    if not root.exists():
        raise DatasetError(f"{root}: no such file or folder; expected the root of a {kind} data set")
    return reader(root, split)
