"""Options that several commands share."""

import argparse

from pelee.runtime.backends import BACKENDS


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
