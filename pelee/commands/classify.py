"""`pelee-classify`: classify images; prints a table, writes JSON Lines."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.command_line import idle_blas_threads, new_parser, positive_int, run
from pelee.commands.options import add_inference_options, add_json_lines_option

if TYPE_CHECKING:
    from pathlib import Path

    from pelee.classification.results import ClassScore


EPILOG = """\
examples:
  pelee-classify cat.jpg
  pelee-classify photos/ 'more/*.png' --top 3 --json classes.jsonl
  pelee-classify photos/ --weights runs/flowers/model --json -

exit codes:
  0    all images were classified
  1    some inputs could not be read: one line on stderr for each, the others were classified
  2    no input could be read, or another error: one line on stderr
  130  ctrl-C: the JSON Lines written so far are complete
"""
ROWS = 20  # of the table; more images are summarized as counts of classes


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    parser = new_parser(
        prog="pelee-classify",
        description="Classify images.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IMAGE",
        help="an image, a folder (with its subfolders), or a pattern such as 'photos/*.jpg'",
    )
    parser.add_argument("--top", type=positive_int, default=5, metavar="K", help="classes per image (%(default)s)")
    add_json_lines_option(parser)
    add_inference_options(parser, "peleenet-tiny-imagenet", input_size=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = build_parser().parse_args(argv)
    return run(lambda: _classify(args))


def _classify(args: argparse.Namespace) -> int:
    with idle_blas_threads():
        from pelee.classification.classifier import Classifier

    from data.json_lines import json_lines
    from data.json_output import is_stdout
    from data.progress_bar import progress_bar
    from pelee.classification.results import to_json_line

    files, problems = _collect(args.inputs)
    for line in problems:
        print(f"error: {line}", file=sys.stderr)
    if not files:
        return 2
    classifier = Classifier.load(
        args.weights, runtime=args.runtime, device=args.device, precision=args.precision, mode="throughput"
    )
    if classifier.runtime.startswith("torch ") and (hint := _slow_way(args, classifier.runtime)):
        print(f"note: {hint}", file=sys.stderr)
    to_stdout = is_stdout(args.json)
    rows: list[tuple[str, list[ClassScore]]] = []
    failed, interrupted, started = len(problems), False, time.perf_counter()
    try:
        with (
            warnings.catch_warnings(),  # one line of each damaged image, without a place in the program
            json_lines(args.json) as write_line,
            progress_bar("classifying", len(files), shown=not (to_stdout and sys.stdout.isatty())) as advance,
        ):
            warnings.showwarning = _print_warning
            for part in classifier.stream(files):
                for _, error in part.errors:
                    print(f"error: {error}", file=sys.stderr)
                results = classifier.results(part.probabilities)
                for index, (width, height), result in zip(part.indices, part.sizes, results, strict=True):
                    rows.append((str(files[index]), result.top(args.top)))
                    if write_line is not None:
                        write_line(to_json_line(str(files[index]), width, height, result, args.top))
                failed += len(part.errors)
                advance(len(part.indices) + len(part.errors))
    except KeyboardInterrupt:
        interrupted = True
    if rows:
        rate = len(rows) / max(time.perf_counter() - started, 1e-9)
        _print_report(rows, to_stderr=to_stdout)
        print(
            f"{classifier.card.name} on {classifier.runtime}: {len(rows)} images, {rate:.1f} images/s",
            file=sys.stderr if to_stdout else sys.stdout,
        )
    if interrupted:
        print("interrupted; the results written so far are complete", file=sys.stderr)
        return 130
    if failed:
        return 1 if rows else 2
    return 0


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _slow_way(args: argparse.Namespace, runtime: str) -> str | None:
    from pelee.runtime.session import RuntimeOptions
    from pelee.runtime.slow_way import slow_way

    return slow_way(args.weights, runtime, RuntimeOptions(args.runtime, args.device, args.precision))


def _collect(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the image files of the inputs, each once, and one error line for each input without any."""
    from data.errors import ImageError
    from data.images.image_io import find_images

    found: dict[str, Path] = {}
    problems: list[str] = []
    for given in inputs:
        try:
            for path in find_images([given], lambda error: problems.append(str(error))):
                found.setdefault(os.path.realpath(path), path)
        except ImageError as error:
            problems.append(str(error))
        except OSError as error:  # a forbidden or over-long path
            problems.append(f"{given}: {error.strerror or error}")
    return list(found.values()), problems


def _print_report(rows: Sequence[tuple[str, Sequence[ClassScore]]], to_stderr: bool) -> None:
    """Print the classes of each image, or above `ROWS` images the number of images of each class."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stderr if to_stderr else sys.stdout, highlight=False)
    table = Table()
    if len(rows) > ROWS:
        counts = Counter(top[0].label for _, top in rows)
        table.add_column("class", overflow="fold")
        table.add_column("images", justify="right")
        for label, count in counts.most_common(ROWS):
            table.add_row(Text(label), str(count))
        if len(counts) > ROWS:
            table.add_section()
            table.add_row(f"{len(counts) - ROWS} more classes", str(sum(sorted(counts.values())[:-ROWS])))
    else:
        table.add_column("image", overflow="fold")
        table.add_column("class", overflow="fold")
        table.add_column("score", justify="right")
        for name, top in rows:
            for place, candidate in enumerate(top):
                table.add_row(
                    Text(name if place == 0 else ""),
                    Text(candidate.label, style="bold" if place == 0 else ""),
                    f"{candidate.score:.3f}",
                    end_section=place == len(top) - 1,
                )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
