"""Compare ways to train at one equal budget: a run of pelee-train each, and a table.

    python -m detection.commands.ablate design --root VOCdevkit --backbone peleenet-tiny-imagenet --output runs/design

A comparison is a YAML file: `recipe`, what all runs start from; `settings` over it, the budget among them; and
`variants`, a name and its settings each, of which the first is what the others are held against. A variant may have
its own `recipe`, too, and its own `backbone`, as pelee-train takes it, or null for random weights. Each run is a
process of its own. Started again, the command skips the runs that are done and resumes the one that was not; the table
is written anew after every run.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data.command_line import new_parser, run
from data.commands.options import add_dataset_options
from data.errors import SettingsError
from detection.ablation.experiment import read_comparison
from detection.ablation.plan import is_done, plan, train

EPILOG = """\
What this command does not know is handed to every run's pelee-train: --devices, --max-steps 2000, ...
A --backbone is Pelee's, one of another network --backbone ssdlite-mobilenetv2=FILE; a variant may name its own.
A variant whose `imitation` is above 0 has the --teacher, and is left out where none is given; the others have none.

exit codes: 0 done, 2 an error, told in one line; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = new_parser(
        prog="python -m detection.commands.ablate",
        description="Train variants at one equal budget and write a table of what each gives and costs.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("comparison", help="a shipped comparison (design, ingredients, peer, recipes) or a YAML file")
    add_dataset_options(parser, default="voc")
    parser.add_argument("--output", type=Path, required=True, help="a folder a run, compare.md and compare.json")
    parser.add_argument("--only", metavar="A,B", help="these variants only; the first of the file is always one")
    parser.add_argument(
        "--backbone", action="append", default=[], metavar="[MODEL=]START", help="what a network's backbone starts from"
    )
    parser.add_argument("--teacher", metavar="FILE", help="for the variants with imitation: see pelee-train")
    parser.add_argument("--table", action="store_true", help="train nothing: time and write the table of what is done")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options, words = build_parser().parse_known_args(argv)
    return run(lambda: _main(options, words))


def _main(options: argparse.Namespace, words: Sequence[str]) -> int:
    from detection.ablation.table import write_table

    comparison = read_comparison(options.comparison)
    runs = plan(comparison, options, words)
    for one in runs:
        if is_done(one):
            print(f"{one.name}: done")
        elif not options.table:
            print(f"{one.name}: {shlex.join(['pelee-train', *one.words])}", flush=True)
            train(one)
            write_table([done for done in runs if is_done(done)], options.output, times=False)
    done = [one for one in runs if is_done(one)]
    if not done:
        raise SettingsError(f"{options.output} holds no finished run; leave --table away to train")
    print(write_table(done, options.output, times=True), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
