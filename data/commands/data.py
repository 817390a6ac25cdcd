"""`pelee-data`: check a dataset before training, download the public ones, prepare them, compute color statistics."""

import argparse
import sys
from collections.abc import Callable, Sequence

from data.command_line import new_parser, run
from data.commands.check import add_check
from data.commands.classification import add_prepare, add_statistics
from data.commands.download import add_download


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each subcommand sets `body`, which takes the parsed arguments."""
    parser = new_parser(prog="pelee-data", description="Check datasets, download the public ones and prepare them.")
    commands = parser.add_subparsers(required=True, metavar="check|download|statistics|prepare")
    for add in (add_check, add_download, add_statistics, add_prepare):
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0: no faults, 1: `check` found faults or images could not be read, 2: an error."""
    arguments = build_parser().parse_args(argv)
    body: Callable[[argparse.Namespace], int] = arguments.body
    return run(lambda: body(arguments))


if __name__ == "__main__":
    sys.exit(main())
