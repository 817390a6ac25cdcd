"""Options that several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path

from data.command_line import positive_int
from pelee.runtime.backends import BACKENDS


def add_inference_options(
    parser: argparse.ArgumentParser, default: str | None, *, note: str | None = None, input_size: bool = True
) -> None:
    """Add --weights, --runtime, --device and --precision, and where the command takes it --input-size.

    Args:
        parser: gets the options.
        default: default of --weights; without one and without a note, --weights is required.
        note: text in the help of --weights instead of the default, for a default that depends on other options.
        input_size: add --input-size, with the hidden deprecated alias --size.
    """
    note = note or default
    parser.add_argument(
        "--weights",
        default=default,
        required=note is None,
        metavar="MODEL",
        help="a shipped model's name, or a model's folder or file" + (f" ({note})" if note else ""),
    )
    if input_size:
        parser.add_argument(
            "--input-size",
            type=positive_int,
            metavar="PX",
            help="side of the network's input, for detectors a multiple of 16 (the model's own); others need torch",
        )
        add_hidden_alias(parser, "--size", dest="input_size", type=positive_int)
    add_runtime_options(parser)


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """Add --runtime, --device and --precision, which `pelee.runtime.selection.open_session` takes and checks."""
    parser.add_argument(
        "--runtime",
        default="auto",
        metavar="NAME",
        help=f"{', '.join(BACKENDS)} (%(default)s: the fastest that is installed)",
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1, ... (%(default)s)")
    parser.add_argument("--precision", default="auto", metavar="NAME", help="f32, bf16 or int8 (%(default)s)")


def add_report_options(parser: argparse.ArgumentParser, plots: str) -> None:
    """Add --json and --output, the targets of an evaluation; `plots` says what --output writes."""
    parser.add_argument("--json", metavar="FILE", help="write all numbers as JSON; - for stdout (tables go to stderr)")
    parser.add_argument("--output", type=Path, metavar="DIR", help=plots)


def add_json_lines_option(parser: argparse._ActionsContainer) -> None:
    """Add --json of a command that writes one JSON object per image; see `data.json_lines.json_lines`."""
    parser.add_argument("--json", metavar="FILE", help="write JSON Lines; - for stdout, the table then goes to stderr")


def add_hidden_alias(parser: argparse.ArgumentParser, flag: str, *, dest: str, type: Callable[[str], object]) -> None:
    """Add a deprecated spelling of an option, which `--help` does not show."""
    parser.add_argument(flag, dest=dest, type=type, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
