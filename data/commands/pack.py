"""`pelee-data pack`: a dataset as tar shards."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from data.command_line import first_few, positive_int
from data.commands.options import add_dataset_options, default_splits
from data.datasets.registry import find_format, find_root, open_dataset


def add_pack(commands: Any) -> None:
    """Add `pack` to the subparsers of `pelee-data`."""
    pack = commands.add_parser(
        "pack",
        help="write a dataset as tar shards",
        description="Write splits of a dataset as tar shards in WebDataset's layout, with an index and checksums. "
        "Every command reads them with --dataset packed --root DIR, DIR being the --output of this one. Exit code 1: "
        "images could not be read and were left out.",
    )
    add_dataset_options(pack, annotated=False)
    pack.add_argument(
        "--split",
        action="append",
        metavar="S",
        help="split to pack, such as 2007-test; may be given several times "
        f"(default: {default_splits(lambda entry: entry.train_split, annotated=False)})",
    )
    pack.add_argument(
        "--max-side", type=positive_int, metavar="N", help="reduce images so that no side has more than N pixels"
    )
    pack.add_argument(
        "--format",
        choices=("jpeg", "webp"),
        help="encode all images in this format (default: images that keep their size keep their file, others JPEG)",
    )
    pack.add_argument(
        "--quality", type=_quality, default=90, metavar="N", help="quality of encoded images, 1 to 100 (90)"
    )
    pack.add_argument(
        "--shard-size", type=byte_size, default="30MB", metavar="SIZE", help="largest size of a shard (30MB)"
    )
    pack.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder to write to, a subfolder per split"
    )
    pack.set_defaults(body=run_pack)


def run_pack(arguments: argparse.Namespace) -> int:
    """Pack the splits and print a line for each; returns 1 if images could not be read."""
    from data.inspection.verification import verify_dataset
    from data.packed.packing import PackOptions, pack_split
    from data.progress_bar import progress_bar

    arguments.root = find_root(arguments.dataset, arguments.root)
    options = PackOptions(
        max_side=arguments.max_side,
        format=arguments.format,
        quality=arguments.quality,
        shard_size=arguments.shard_size,
    )
    faulty = False
    splits = list(dict.fromkeys(arguments.split or [find_format(arguments.dataset).train_split]))
    for split in splits:
        # Boxes annotated in another frame than the upright image are corrected now: a packed image has no EXIF.
        dataset = verify_dataset(open_dataset(arguments.dataset, arguments.root, split))
        with progress_bar(f"packing {dataset.split}", len(dataset.records)) as advance:
            packed = pack_split(dataset, arguments.output, options, advance)
        contents = f"{packed.images:,} images, {packed.objects:,} objects"
        print(f"{packed.folder}: {contents}, {packed.size / 1e6:.1f} MB, shards: {packed.shards}")
        for line in first_few(dataset.unreadable, "see unreadable in index.json"):
            print(f"left out: {line}", file=sys.stderr)
        faulty |= bool(dataset.unreadable)
    return 1 if faulty else 0


def byte_size(text: str) -> int:
    """Parse a size such as 30MB (10^6 bytes) or 32MiB (2^20 bytes), as the `type` of an argument."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]?)(I?)B?", text.upper())
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** " KMG".index(match[2] or " ")) if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 30MB")
    return size


def _quality(text: str) -> int:
    value = positive_int(text)
    if value > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no quality from 1 to 100")
    return value
