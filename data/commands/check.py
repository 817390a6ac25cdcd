"""`pelee-data check`: a dataset check before training."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.datasets.records import Dataset
    from data.inspection.findings import Finding, SplitReport


# Written out, as `data.datasets.registry` and `data.download.resumable_http` would bring NumPy and the network to `--help`; a test compares.
KINDS = ("voc", "coco", "yolo", "folder")
SPLITS = {"voc": "trainval", "coco": "val2017", "yolo": "train", "folder": "all"}


def run_check(arguments: argparse.Namespace) -> int:
    from data.atomic_files import atomic_path
    from data.datasets.registry import open_dataset
    from data.images.image_io import write_image
    from data.inspection.check import inspect_split
    from data.inspection.contact_sheet import contact_sheet
    from data.inspection.duplicates import find_duplicates
    from data.inspection.report import as_json, count_faults

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
    from data.inspection.report import count_faults, listing, summary

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
