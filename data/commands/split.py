"""`pelee-data split`: one's own images as training, validation and test splits."""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.datasets.registry import find_format, find_root, open_dataset
from data.errors import SettingsError

if TYPE_CHECKING:
    from data.datasets.records import Record

FORMATS = ("yolo", "voc", "coco")


def add_split(commands: Any) -> None:
    """Add `split` to the subparsers of `pelee-data`."""
    split = commands.add_parser(
        "split",
        help="split one's own images into train and val",
        description="Split the images of a dataset by image, with each class in proportion and near-duplicates (frames "
        "of one video) in one split. Images and labels stay where they are; new are yolo: data.yaml with lists, voc: "
        "lists for ImageSets/Main, coco: annotations/instances_SPLIT.json.",
    )
    split.add_argument("--dataset", choices=FORMATS, required=True, help="format of the dataset")
    split.add_argument("--root", type=Path, help="the dataset's folder, as for pelee-data check")
    split.add_argument("--split", metavar="S", help="the split to divide (default: the dataset's first)")
    split.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the new files to")
    split.add_argument("--val-share", type=_share, default=0.2, metavar="X", help="share of the images for val (0.2)")
    split.add_argument("--test-share", type=_share, default=0.0, metavar="X", help="share of the images for test (0)")
    split.add_argument("--seed", type=int, default=0, help="seed of the choice (0)")
    split.set_defaults(body=run_split)


def run_split(arguments: argparse.Namespace) -> int:
    """Split the dataset, write the files and print the number of images and of each class's objects."""
    from data.datasets.coco import read_json
    from data.inspection.near_duplicates import near_duplicate_groups
    from data.inspection.verification import verify_dataset
    from data.progress_bar import progress_bar
    from data.splitting.split_files import write_split
    from data.splitting.stratified_split import stratified_split

    arguments.root = find_root(arguments.dataset, arguments.root)
    train_share = 1 - arguments.val_share - arguments.test_share
    if train_share < 1e-6 or arguments.val_share == 0:
        raise SettingsError("expected --val-share above 0, and with --test-share less than 1 together")
    shares = {"train": train_share, "val": arguments.val_share, "test": arguments.test_share}
    shares = {name: share for name, share in shares.items() if share}
    split = arguments.split or find_format(arguments.dataset).list_splits(arguments.root)[0]
    dataset = verify_dataset(open_dataset(arguments.dataset, arguments.root, split))
    records = dataset.records
    if len(records) < len(shares):
        raise SettingsError(f"{arguments.root}: {len(records)} images in {split}; expected {len(shares)} or more")
    with progress_bar("comparing images", len(records)) as advance:
        groups = near_duplicate_groups([record.image for record in records], progress=advance)
    names = stratified_split([record.labels.tolist() for record in records], groups, shares, seed=arguments.seed)
    parts = {name: [record for record, own in zip(records, names, strict=True) if own == name] for name in shares}
    content = read_json(arguments.root, split) if arguments.dataset == "coco" else {}
    files = write_split(arguments.dataset, dataset, content, parts, arguments.output)

    for line in dataset.unreadable:
        print(f"left out: {line}")
    print(_table(parts, dataset.class_names))
    print(f"{len(records) - len(set(groups))} near-duplicates are in the split of their originals")
    print(f"written: {', '.join(str(file) for file in files)}")
    return 1 if dataset.unreadable else 0


def _table(parts: "Mapping[str, list[Record]]", class_names: tuple[str, ...]) -> str:
    """Return the numbers of images and of objects by class, a column a split."""
    rows = [("", *parts), ("images", *(str(len(records)) for records in parts.values()))]
    for label, name in enumerate(class_names):
        counts = [sum(int((record.labels == label).sum()) for record in records) for records in parts.values()]
        rows.append((name, *map(str, counts)))
    first = max(len(row[0]) for row in rows)
    return "\n".join(f"{row[0]:<{first}}" + "".join(f"{value:>9}" for value in row[1:]) for row in rows)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to below 1")
    return value
