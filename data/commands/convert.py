"""`pelee-data convert`: a dataset in another format, with links to its images or copies of them."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command_line import first_few
from data.datasets.registry import TRAIN_NAMES, VAL_NAMES, dataset_formats, find_format, find_root, open_dataset
from data.errors import DatasetError
from data.label_formats.label_registry import LABEL_FORMATS, open_label_writer

if TYPE_CHECKING:
    from data.datasets.records import Dataset


def add_convert(commands: Any) -> None:
    """Add `convert` to the subparsers of `pelee-data`."""
    convert = commands.add_parser(
        "convert",
        help="write a dataset in another format",
        description="Write a dataset in another format, for annotation tools and other programs: a new folder with "
        "the images (hard links where the disk has them) and upright boxes in pixels of what they show. Masks, "
        "polygons and keypoints become the boxes around them. Exit code 1: images could not be read and were left out.",
    )
    convert.add_argument(
        "--from", dest="source", choices=dataset_formats(), required=True, help="format of the dataset, as --dataset"
    )
    convert.add_argument("--root", type=Path, help="the dataset's folder, as for pelee-data check")
    convert.add_argument(
        "--split",
        action="append",
        metavar="S",
        help="split to convert; may be given several times (default: all splits of the dataset)",
    )
    convert.add_argument("--to", dest="target", choices=tuple(LABEL_FORMATS), required=True, help="format to write")
    convert.add_argument("--output", type=Path, required=True, metavar="DIR", help="the new dataset's folder")
    convert.add_argument(
        "--copy", action="store_true", help="copy the images instead of linking them, to change their pixels"
    )
    convert.set_defaults(body=run_convert)


def run_convert(arguments: argparse.Namespace) -> int:
    """Convert the splits and print what was written and what the format does not hold; 1 where images are left out."""
    from data.datasets.dataset_warnings import summarize_warnings
    from data.inspection.verification import verify_dataset
    from data.label_formats.source_shapes import count_shapes
    from data.progress_bar import progress_bar

    source = find_format(arguments.source)
    arguments.root = find_root(arguments.source, arguments.root)
    splits = arguments.split or (source.list_splits(arguments.root) if arguments.root.exists() else [""])
    datasets = [
        verify_dataset(open_dataset(arguments.source, arguments.root, split)) for split in dict.fromkeys(splits)
    ]
    _check_classes(datasets)
    names = split_names([dataset.split for dataset in datasets])
    with open_label_writer(
        arguments.target, arguments.output, datasets[0].class_names, link=not arguments.copy
    ) as writer:
        for dataset, name in zip(datasets, names, strict=True):
            with progress_bar(f"writing {name}", len(dataset.records)) as advance:
                for record in dataset.records:
                    writer.add(name, record)
                    advance(1)
    for dataset, name in zip(datasets, names, strict=True):
        objects = sum(len(record.labels) for record in dataset.records)
        print(f"{dataset.split} -> {name}: {len(dataset.records):,} images, {objects:,} objects")
        for line in first_few(summarize_warnings(dataset.warnings), "pelee-data check lists them all"):
            print(f"warning: {line}", file=sys.stderr)
        for line in dataset.unreadable:
            print(f"left out: {line}", file=sys.stderr)
    shapes = sum(count_shapes(arguments.source, arguments.root, dataset) for dataset in datasets)
    if shapes:
        print(f"{shapes:,} objects have masks, polygons or keypoints; the boxes around them are written")
    for line in writer.notes():
        print(line)
    linked = f", {writer.linked:,} of {writer.images:,} images as hard links" if writer.linked else ""
    print(f"written: {arguments.output}, {arguments.target}{linked}")
    return 1 if any(dataset.unreadable for dataset in datasets) else 0


def split_names(splits: Sequence[str]) -> list[str]:
    """Return the new names of splits: train, val or test where only one of them has that role, else safe own names."""
    roles = [_role(split) for split in splits]
    own = [re.sub(r"[^\w.-]+", "_", split) for split in splits]
    return [role if role and roles.count(role) == 1 else name for role, name in zip(roles, own, strict=True)]


def _role(split: str) -> str | None:
    """Return train, val or test for the usual names, with a year or without: 2007-trainval, val2017."""
    bare = re.sub(r"^\d{4}-|\d{4}$", "", split)
    if bare in ("test", "testing"):
        return "test"
    return "train" if bare in TRAIN_NAMES else "val" if bare in VAL_NAMES else None


def _check_classes(datasets: "Sequence[Dataset]") -> None:
    first = datasets[0]
    for other in datasets[1:]:
        if other.class_names != first.class_names:
            raise DatasetError(
                f"the splits {first.split} and {other.split} differ in their class lists; convert them one by one "
                "with --split"
            )
