"""Registry of the dataset formats: one descriptor each, from which every command takes its choices, defaults and help.

Imports no reader, so that `--help` stays instant: a format names its reader as "module:function".
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.dotted_path import load_object
from data.errors import DatasetError, SettingsError

if TYPE_CHECKING:
    from data.datasets.records import Dataset

#: Names of a training and of a validation split in datasets of one's own, preferred ones first.
TRAIN_NAMES = ("train", "training", "trainval", "train2017")
VAL_NAMES = ("val", "valid", "validation", "val2017", "test")


@dataclass(frozen=True, slots=True)
class DatasetFormat:
    """Descriptor of a dataset format.

    Attributes:
        name: value of `--dataset`.
        reader: "module:function" of the reader, `(root: Path, split: str) -> Dataset`. It raises DatasetError for a
            layout or an annotation that cannot be used.
        help: the format in a few words, for `--help`.
        root: the value of `--root` in a few words, for `--help`.
        train_split: split to train on by default; empty for the only one that the root has.
        val_split: split to measure on by default; empty likewise.
        tuning_split: split to validate on while training by default, where it is another: what chooses the weights is
            not what measures them.
        splits: "module:function" of the list of splits, `(root: Path) -> list[str]`, training first, no image in two;
            empty where the training split is the only one.
        annotated: whether the format has boxes; one without is for `pelee-data check` only.
        default_root: where `pelee-data download` puts the published dataset, the root where none is given; "" for none.
    """

    name: str
    reader: str
    help: str
    root: str
    train_split: str
    val_split: str
    splits: str = ""
    annotated: bool = True
    tuning_split: str = ""
    default_root: str = ""

    def open(self, root: Path, split: str) -> "Dataset":
        """Import the reader and read a split, whatever its class names are.

        Where the dataset lacks a default split, its own one of that role is read, with a warning: `train` in place of
        `train2017`.
        """
        from data.datasets.records import MissingSplitError

        read = load_object(self.reader)
        try:
            dataset: Dataset = read(root, split)
        except MissingSplitError as error:
            own = self._own_split(root, split)
            if own is None:
                splits = self.list_splits(root)
                if split in (self.val_split, self.tuning_split) and len(splits) == 1:
                    raise MissingSplitError(f"{error}; pelee-data split divides {splits[0]}") from None
                raise
            dataset = read(root, own)
            dataset.warnings.insert(0, f"no split {split!r}, {own!r} is used: {root}")
        return dataset

    def _own_split(self, root: Path, split: str) -> str | None:
        """Return the dataset's split of the role of a default split; None where there is none."""
        if split not in (self.train_split, self.val_split, self.tuning_split):
            return None
        role = TRAIN_NAMES if split == self.train_split else VAL_NAMES
        names = {name.rpartition("-")[2]: name for name in reversed(self.list_splits(root))}
        return next((names[name] for name in role if name in names), None)

    def list_splits(self, root: Path) -> list[str]:
        """Return the names of the splits below a root; the training split's default name where there are none."""
        names: list[str] = load_object(self.splits)(root) if self.splits else []
        return names or [self.train_split]


FORMATS = {
    entry.name: entry
    for entry in (
        DatasetFormat(
            name="voc",
            reader="data.datasets.voc:read_voc",
            help="PASCAL VOC's XML",
            root="VOCdevkit",
            train_split="trainval",
            val_split="2007-test",
            tuning_split="2007-minival",
            splits="data.datasets.voc:voc_splits",
            default_root="datasets/voc",
        ),
        DatasetFormat(
            name="coco",
            reader="data.datasets.coco:read_coco",
            help="COCO's JSON",
            root="the folder of annotations/ and the images",
            train_split="train2017",
            val_split="val2017",
            splits="data.datasets.coco:coco_splits",
            default_root="datasets/coco",
        ),
        DatasetFormat(
            name="yolo",
            reader="data.datasets.yolo:read_yolo",
            help="YOLO's text files",
            root="the yaml file or its folder",
            train_split="train",
            val_split="val",
            splits="data.datasets.yolo:yolo_splits",
        ),
        DatasetFormat(
            name="packed",
            reader="data.packed.packed_reader:read_packed",
            help="shards of pelee-data pack, read from disk",
            root="the --output of pelee-data pack",
            train_split="",
            val_split="",
            splits="data.packed.packed_reader:packed_splits",
        ),
        DatasetFormat(
            name="packed-in-memory",
            reader="data.packed.packed_reader:read_packed_in_memory",
            help="the same, read into memory first",
            root="as packed",
            train_split="",
            val_split="",
            splits="data.packed.packed_reader:packed_splits",
        ),
        DatasetFormat(
            name="folder",
            reader="data.datasets.unlabeled:read_folder",
            help="images without boxes",
            root="the folder of the images",
            train_split="all",
            val_split="all",
            annotated=False,
        ),
    )
}


def dataset_formats(annotated: bool = True) -> tuple[str, ...]:
    """Return the names of the formats: those with boxes, or with `annotated=False` all."""
    return tuple(name for name, entry in FORMATS.items() if entry.annotated or not annotated)


def find_format(name: str) -> DatasetFormat:
    """Return a format's descriptor; SettingsError for an unknown name."""
    if name not in FORMATS:
        raise SettingsError(f"unknown dataset format {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def find_root(format_name: str, root: Path | None, parts: str = "", again: str = "this command again") -> Path:
    """Return a dataset's folder: `root`, or the format's default one, which `pelee-data download` made.

    Args:
        format_name: a key of `FORMATS`.
        root: the folder that the user named; None for the default.
        parts: what to download, for the message, such as "--parts val2017 annotations".
        again: what to do then, for the message.

    Raises:
        SettingsError: no folder is named, and the format has no default, or it is not there.
    """
    if root is not None:
        return root
    default = find_format(format_name).default_root
    if not default:
        raise SettingsError(f"--root is needed with --dataset {format_name}")
    if not Path(default).exists():
        command = " ".join(["pelee-data download", format_name, *([parts] if parts else [])])
        raise SettingsError(f"{default} is not there: {command}, then {again}; or give --root")
    return Path(default)


def open_dataset(format_name: str, root: Path | str, split: str) -> "Dataset":
    """Read a split of a dataset; see the readers for their layouts and splits.

    Args:
        format_name: a key of `FORMATS`.
        root: the dataset's folder (yolo: or its yaml file).
        split: the dataset's name of the part, such as "2007-test" (voc) or "val2017" (coco).

    Raises:
        SettingsError: an unknown format.
        DatasetError: a layout that cannot be used, or class names that are empty or come twice.
    """
    from data.datasets.class_names import class_name_faults

    dataset = open_unchecked(format_name, root, split)
    faults = class_name_faults(dataset.class_names)
    if faults:
        raise DatasetError(f"{root}: {'; '.join(faults)}")
    return dataset


def open_unchecked(format_name: str, root: Path | str, split: str) -> "Dataset":
    """Read a split as `open_dataset`, with class names as they are: for a check that reports their faults."""
    entry = find_format(format_name)
    root = Path(root)
    if not root.exists():
        raise DatasetError(f"{root}: no such file or folder; expected the root of a {format_name} dataset")
    return entry.open(root, split)
