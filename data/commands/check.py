"""`pelee-data check`: a dataset check before training."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command_line import positive_int
from data.commands.options import add_dataset_options
from data.datasets.registry import find_format, find_root, open_unchecked
from data.errors import DatasetError, ImageError
from data.json_output import check_json_target, is_stdout, write_json

if TYPE_CHECKING:
    from data.datasets.records import Dataset
    from data.inspection.findings import Finding, SplitReport


def add_check(commands: Any) -> None:
    """Add `check` to the subparsers of `pelee-data`."""
    check = commands.add_parser(
        "check",
        help="count and check images and boxes, find duplicates",
        description="Count images and objects, read every image, find faults in labels, boxes and class lists, and "
        "images that are in two splits. Exit code 0: no faults, 1: faults were found, 2: an error.",
    )
    add_dataset_options(check, annotated=False)
    check.add_argument(
        "--split",
        action="append",
        metavar="S",
        help="split to check, such as 2007-test; several are compared with the first and with each other "
        "(default: all splits of the dataset)",
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


def run_check(arguments: argparse.Namespace) -> int:
    """Inspect the splits and print or write the report; returns 1 where it has faults."""
    from data.images.image_io import check_image_target, write_image
    from data.inspection.check import inspect_split
    from data.inspection.class_lists import compare_class_lists, excuse_absent_classes
    from data.inspection.contact_sheet import contact_sheet
    from data.inspection.duplicates import find_duplicates
    from data.inspection.findings import Finding
    from data.inspection.report import as_json, count_faults
    from data.progress_bar import progress_bar

    check_json_target(arguments.json)
    if arguments.sheet:
        check_image_target(arguments.sheet)
    arguments.root = find_root(arguments.dataset, arguments.root)
    splits = list(dict.fromkeys(arguments.split or _all_splits(arguments.dataset, arguments.root)))
    datasets, between = _open(arguments.dataset, arguments.root, splits)
    reports = []
    for dataset in datasets:
        with progress_bar(f"reading {dataset.split}", len(dataset.records)) as advance:
            reports.append(inspect_split(dataset, quick=arguments.quick, progress=lambda: advance(1)))
    reports = excuse_absent_classes(reports)
    if len(splits) == 1 and not arguments.split and find_format(arguments.dataset).annotated:
        between.append(
            Finding(
                "one-split", splits[0], f"{splits[0]} is the only split; pelee-data split divides it for pelee-train"
            )
        )
    between += [*compare_class_lists(datasets), *find_duplicates(datasets)]

    values = {"dataset": arguments.dataset, "root": str(arguments.root), "quick": arguments.quick}
    if not is_stdout(arguments.json):
        _print(reports, between)
    write_json(arguments.json, values | as_json(reports, between), indent=2)
    if arguments.sheet:
        write_image(arguments.sheet, contact_sheet(datasets, count=arguments.num_images, seed=arguments.seed))
    return 1 if count_faults([*between, *(finding for report in reports for finding in report.findings)]) else 0


def _all_splits(name: str, root: Path) -> list[str]:
    return find_format(name).list_splits(root) if root.exists() else [find_format(name).train_split]


def _open(name: str, root: Path, splits: "Sequence[str]") -> "tuple[list[Dataset], list[Finding]]":
    """Open the splits; one that cannot be read is a finding, unless there is no other one."""
    from data.inspection.findings import Finding

    datasets, findings, errors = [], [], []
    for split in splits:
        try:
            datasets.append(open_unchecked(name, root, split))
        except (DatasetError, ImageError) as error:
            findings.append(Finding("split", split, str(error)))
            errors.append(error)
    if not datasets:
        raise errors[0]
    return datasets, findings


def _print(reports: "Sequence[SplitReport]", between: "Sequence[Finding]") -> None:
    from data.inspection.report import count_faults, listing, summary

    for report in reports:
        print(summary(report))
        if report.findings:
            print(listing(report.findings))
        print()
    if between:
        print(f"between splits\n{listing(between)}\n")
    faults = count_faults([*between, *(finding for report in reports for finding in report.findings)])
    print(f"{faults:,} faults" if faults else "no faults")
