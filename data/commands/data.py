"""`pelee-data`: check, split, convert, download, pack and prepare datasets, and compute their color statistics."""

import argparse
import sys
from collections.abc import Callable, Sequence

from data.command_line import new_parser, run
from data.commands.check import add_check
from data.commands.classification import add_prepare, add_statistics
from data.commands.convert import add_convert
from data.commands.download import add_download
from data.commands.pack import add_pack
from data.commands.split import add_split


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each subcommand sets `body`, which takes the parsed arguments."""
    description = "Check, split and convert datasets, download the public ones, pack and prepare them."
    parser = new_parser(prog="pelee-data", description=description)
    commands = parser.add_subparsers(required=True, metavar="check|split|convert|download|pack|statistics|prepare")
    for add in (add_check, add_split, add_convert, add_download, add_pack, add_statistics, add_prepare):
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0: no faults, 1: `check` found faults or images could not be read, 2: an error."""
    arguments = build_parser().parse_args(argv)
    body: Callable[[argparse.Namespace], int] = arguments.body
    return run(lambda: body(arguments))


if __name__ == "__main__":
    sys.exit(main())
