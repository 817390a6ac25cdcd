"""`pelee-data`: look a data set over before training on it, fetch the public ones, compute statistics of colours."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from data.command_line import new_parser, positive_int, run
from data.commands.check import KINDS, SPLITS, run_check
from data.commands.classification import add_commands
from data.commands.download import PARTS, run_download


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0: fine, 1: `check` found faults, 2: an error."""
    arguments = _parser().parse_args(argv)
    body: Callable[[argparse.Namespace], int] = arguments.body
    return run(lambda: body(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(prog="pelee-data", description="Check data sets, fetch the public ones, and get them ready.")
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
    check.add_argument("--pictures", type=positive_int, default=24, metavar="N", help="pictures on the sheet (24)")
    check.add_argument("--seed", type=int, default=0, help="which random pictures (0)")
    check.set_defaults(body=run_check)

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
    download.set_defaults(body=run_download)
    add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
