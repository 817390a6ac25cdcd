"""`pelee-runs`: compare training runs, finished or running."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command_line import new_parser, run
from pelee.commands.options import add_json_lines_option

if TYPE_CHECKING:
    from pelee.runs.run import TrainingRun


EPILOG = """\
examples:
  pelee-runs runs/voc runs/voc-long
  pelee-runs runs/ --plot runs.png            every run in the folder
  pelee-runs search/trials --json -           a line of JSON for each run

exit codes: 0 done, 1 done, but some folders are no runs, 2 an error, in one line
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    parser = new_parser(
        prog="pelee-runs",
        description="Compare runs of pelee-train and pelee-train-classifier: settings that differ, scores, throughput.",
        epilog=EPILOG,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the --output of a run, or a folder of runs")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="plot score and loss over steps (.png, .svg or .pdf)"
    )
    add_json_lines_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-runs` and return its exit code."""
    options = build_parser().parse_args(argv)
    return run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    import json

    from data.errors import PeleeError, SettingsError
    from data.json_lines import json_lines
    from data.json_output import is_stdout
    from pelee.runs.compare import distinguishing_names
    from pelee.runs.plot import plot_runs
    from pelee.runs.run import find_runs, open_run

    runs: dict[Path, TrainingRun] = {}
    problems: list[str] = []
    for path in options.runs:
        try:
            for folder in find_runs(path):
                try:
                    runs.setdefault(folder.resolve(), open_run(folder))
                except PeleeError as error:
                    problems.append(str(error))
        except PeleeError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if not runs:
        return 2
    found = list(runs.values())
    names = distinguishing_names(found)
    with json_lines(options.json) as write_line:
        if write_line is not None:
            for name, one in zip(names, found, strict=True):
                write_line(json.dumps(as_json(name, one)))
    print_table(names, found, to_stderr=is_stdout(options.json))
    if options.plot:
        if options.plot.suffix not in (".png", ".svg", ".pdf"):
            raise SettingsError(f"--plot {options.plot}: expected a file name that ends in .png, .svg or .pdf")
        plot_runs(found, names, options.plot)
        print(f"plot: {options.plot}", file=sys.stderr)
    return 1 if problems else 0


def as_json(name: str, run: "TrainingRun") -> dict[str, Any]:
    """Return the values of a `--json` line: all of a run except its loss curve."""
    import dataclasses

    values = dataclasses.asdict(run)
    del values["losses"]
    values["pictures_per_second"] = values.pop("images_per_second")
    return {**values, "name": name, "folder": str(run.folder)}


def print_table(names: Sequence[str], runs: "Sequence[TrainingRun]", *, to_stderr: bool = False) -> None:
    """Print a table with one row for each run, then the command of each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pelee.runs.compare import differing_settings, flatten
    from pelee.runs.run import SCORES

    keys = differing_settings(runs)
    table = Table("run", "model", "dataset", "settings that differ", box=None, pad_edge=False, header_style="bold")
    for title in ("best", "epoch", "step", "of steps", "images/s", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, one in zip(names, runs, strict=True):
        settings = ", ".join(
            f"{key.removeprefix('model_settings.')} {_short_value(value)}"
            for key, value in flatten(one.settings).items()
            if (one.task, key) in keys
        )
        cells = (
            name,
            one.model,
            one.dataset,
            settings,
            "" if one.best is None else f"{SCORES[one.task][1]} {100 * one.best:.2f}",
            "" if one.best_epoch is None else str(one.best_epoch),
            "" if one.best_step is None else f"{one.best_step:,}",
            f"{one.steps:,}" if one.finished else f"{one.steps:,} …",
            "" if one.images_per_second is None else f"{one.images_per_second:,.0f}",
            "" if one.seconds is None else _duration(one.seconds),
        )
        table.add_row(*(Text(cell) for cell in cells))
    console = Console(stderr=to_stderr, width=None if Console(stderr=to_stderr).is_terminal else 140)
    console.print(table)
    if not all(one.finished for one in runs):
        console.print("…: not finished")
    for name, one in zip(names, runs, strict=True):
        if one.command:
            print(f"{name}: {one.command}", file=sys.stderr if to_stderr else sys.stdout)


def _short_value(value: Any) -> str:
    """Return a setting's value, shortened to 60 characters."""
    import json

    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _duration(seconds: float) -> str:
    """Format seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


if __name__ == "__main__":
    sys.exit(main())
