"""`pelee-data`: look a data set over before training on it, fetch the public ones, compute statistics of colours."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import run
from data.labelled_cli import add_commands

if TYPE_CHECKING:
    from data.doctor import Finding, SplitReport
    from data.download import Progress
    from data.records import Dataset

# Written out, as `data.datasets` and `data.download` would bring NumPy and the network to `--help`; a test compares.
KINDS = ("voc", "coco", "yolo", "folder")
PARTS = {"voc": ("2007-trainval", "2007-test", "2012-trainval"), "coco": ("train2017", "val2017", "annotations")}
SPLITS = {"voc": "trainval", "coco": "val2017", "yolo": "train", "folder": "all"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0: fine, 1: `check` found faults, 2: an error."""
    arguments = _parser().parse_args(argv)
    body: Callable[[argparse.Namespace], int] = arguments.body
    return run(lambda: body(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pelee-data", description="Check data sets, fetch the public ones, and get them ready."
    )
    commands = parser.add_subparsers(required=True, metavar="check|download|statistics|prepare")

    check = commands.add_parser(
        "check",
        help="count and check pictures and boxes, find duplicates",
        description="Count pictures and objects, read every picture, find faults in the boxes and pictures that are "
        "in two splits. Exit code 0: clean, 1: faults were found, 2: an error.",
    )
    check.add_argument("--dataset", choices=KINDS, required=True, help="the data set's layout")
    check.add_argument("--root", type=Path, required=True, help="the data set's folder")
    check.add_argument(
        "--split",
        action="append",
        metavar="S",
        help="split to check, such as 2007-test; several are compared with each other (default: "
        + ", ".join(f"{kind} {split}" for kind, split in SPLITS.items())
        + ")",
    )
    check.add_argument("--quick", action="store_true", help="read the pictures' headers only")
    check.add_argument("--json", metavar="FILE", help="write everything that was found as JSON; - is standard output")
    check.add_argument("--sheet", type=Path, metavar="FILE", help="write a sheet of random pictures with their boxes")
    check.add_argument("--pictures", type=_positive, default=24, metavar="N", help="pictures on the sheet (24)")
    check.add_argument("--seed", type=int, default=0, help="which random pictures (0)")
    check.set_defaults(body=_check)

    download = commands.add_parser(
        "download",
        help="fetch VOC or COCO from the official addresses",
        description="Fetch, verify and unpack a data set. A download that was cut goes on where it stopped. "
        "Parts: " + "; ".join(f"{name}: {', '.join(parts)}" for name, parts in PARTS.items()) + ".",
    )
    download.add_argument("dataset", choices=tuple(PARTS), help="the data set")
    download.add_argument("--root", type=Path, required=True, help="the folder to unpack into")
    download.add_argument("--parts", nargs="+", metavar="PART", default=[], help="parts to fetch (default: all)")
    download.add_argument("--base-url", default="", metavar="URL", help="a mirror that has the same paths")
    download.set_defaults(body=_download)
    add_commands(commands)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _check(arguments: argparse.Namespace) -> int:
    from data.datasets import open_dataset
    from data.doctor import as_json, contact_sheet, count_faults, find_duplicates, inspect_split
    from data.files import atomic_path
    from data.images import write_image

    splits = list(dict.fromkeys(arguments.split or [SPLITS[arguments.dataset]]))
    datasets = [open_dataset(arguments.dataset, arguments.root, split) for split in splits]
    reports = []
    for dataset in datasets:
        with _picture_bar(dataset) as advance:
            reports.append(inspect_split(dataset, quick=arguments.quick, progress=advance))
    between = find_duplicates(datasets)

    values = {"dataset": arguments.dataset, "root": str(arguments.root), "quick": arguments.quick}
    text = json.dumps(values | as_json(reports, between), indent=2, ensure_ascii=False)
    if arguments.json == "-":
        print(text)
    else:
        _print(reports, between)
        if arguments.json:
            with atomic_path(arguments.json) as aside:
                aside.write_text(text + "\n", encoding="utf-8")
    if arguments.sheet:
        write_image(arguments.sheet, contact_sheet(datasets, count=arguments.pictures, seed=arguments.seed))
    return 1 if count_faults([*between, *(finding for report in reports for finding in report.findings)]) else 0


def _print(reports: "Sequence[SplitReport]", between: "Sequence[Finding]") -> None:
    from data.doctor import count_faults, listing, summary

    for report in reports:
        print(summary(report))
        if report.findings:
            print(listing(report.findings))
        print()
    if between:
        print(f"duplicates\n{listing(between)}\n")
    faults = count_faults([*between, *(finding for report in reports for finding in report.findings)])
    print(f"{faults:,} faults" if faults else "no faults")


@contextmanager
def _picture_bar(dataset: "Dataset") -> "Iterator[Callable[[], object]]":
    """A bar on a terminal's stderr; nothing in a file or a pipe."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"reading {dataset.split}", total=len(dataset.records))
        yield lambda: bars.advance(task)


def _download(arguments: argparse.Namespace) -> int:
    from data.download import SOURCES, download

    source = SOURCES[arguments.dataset]
    with _byte_bars() as progress:
        fetched = download(
            source, arguments.root, parts=arguments.parts, base_url=arguments.base_url, progress=progress
        )
    for name in arguments.parts or source.parts:
        print(f"{name}: {'unpacked into' if name in fetched else 'already in'} {arguments.root}")
    return 0


@contextmanager
def _byte_bars() -> "Iterator[Progress]":
    """A bar for each step of each part on a terminal's stderr, with bytes, rate and time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    tasks: dict[tuple[str, str], TaskID] = {}
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bars:

        def progress(part: str, step: str, done: int, total: int | None) -> None:
            if (part, step) not in tasks:
                if not console.is_terminal:
                    print(f"{part}: {step}", file=sys.stderr)
                tasks[part, step] = bars.add_task(f"{part} {step}", total=total, completed=done)
            bars.update(tasks[part, step], completed=done, total=total)

        yield progress


if __name__ == "__main__":
    sys.exit(main())
