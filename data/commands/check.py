"""`pelee-data check`: a dataset check before training."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command_line import positive_int
from data.commands.options import add_dataset_options, default_splits
from data.datasets.registry import DatasetFormat, find_format, open_dataset
from data.json_output import check_json_target, is_stdout, write_json

if TYPE_CHECKING:
    from data.inspection.findings import Finding, SplitReport


def add_check(commands: Any) -> None:
    """Add `check` to the subparsers of `pelee-data`."""
    check = commands.add_parser(
        "check",
        help="count and check images and boxes, find duplicates",
        description="Count images and objects, read every image, find faults in the boxes and images that are in two "
        "splits. Exit code 0: no faults, 1: faults were found, 2: an error.",
    )
    add_dataset_options(check, annotated=False)
    check.add_argument(
        "--split",
        action="append",
        metavar="S",
        help="split to check, such as 2007-test; several are compared with each other "
        f"(default: {default_splits(_check_split, annotated=False)})",
    )
    check.add_argument("--quick", action="store_true", help="read the images' headers only")
    check.add_argument("--json", metavar="FILE", help="write all findings as JSON; - is standard output")
    check.add_argument("--sheet", type=Path, metavar="FILE", help="write a sheet of random images with their boxes")
    check.add_argument("--num-images", type=positive_int, default=24, metavar="N", help="images on the sheet (24)")
    # Deprecated name of --num-images.
    check.add_argument(
        "--pictures", dest="num_images", type=positive_int, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    check.add_argument("--seed", type=int, default=0, help="seed of the choice of random images (0)")
    check.set_defaults(body=run_check)


def _check_split(entry: DatasetFormat) -> str:
    return entry.check_split or entry.train_split


def run_check(arguments: argparse.Namespace) -> int:
    """Inspect the splits and print or write the report; returns 1 where it has faults."""
    from data.images.image_io import write_image
    from data.inspection.check import inspect_split
    from data.inspection.contact_sheet import contact_sheet
    from data.inspection.duplicates import find_duplicates
    from data.inspection.report import as_json, count_faults
    from data.progress_bar import progress_bar

    check_json_target(arguments.json)
    splits = list(dict.fromkeys(arguments.split or [_check_split(find_format(arguments.dataset))]))
    datasets = [open_dataset(arguments.dataset, arguments.root, split) for split in splits]
    reports = []
    for dataset in datasets:
        with progress_bar(f"reading {dataset.split}", len(dataset.records)) as advance:
            reports.append(inspect_split(dataset, quick=arguments.quick, progress=lambda: advance(1)))
    between = find_duplicates(datasets)

    values = {"dataset": arguments.dataset, "root": str(arguments.root), "quick": arguments.quick}
    if not is_stdout(arguments.json):
        _print(reports, between)
    write_json(arguments.json, values | as_json(reports, between), indent=2)
    if arguments.sheet:
        write_image(arguments.sheet, contact_sheet(datasets, count=arguments.num_images, seed=arguments.seed))
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
