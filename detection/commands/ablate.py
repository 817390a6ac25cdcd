"""`pelee-ablate`: train variants of a detector with an equal budget, and write a table of their results.

An ablation study is a YAML file: `recipe`, common to all runs; `settings` over it, with the budget; and `variants`, by
name, with their settings. The first variant is the base of the comparison. A variant may have its own `recipe` and its
own `backbone`, as `pelee-train --backbone`, or null for random weights. Each run is a process of its own.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data.command_line import new_parser, run, word_list
from data.commands.options import add_dataset_options
from data.datasets.registry import find_root
from data.errors import SettingsError
from detection.ablation.experiment import COMPARISONS, read_comparison
from detection.ablation.plan import PlanOptions, backbones_by_model, is_done, plan, train
from pelee.training.recipes import recipe_names

EPILOG = """\
All other flags are handed to pelee-train: --devices, --max-steps 2000, ... (see pelee-train --help)
--backbone START is for Pelee, --backbone ssdlite-mobilenetv2=START for the other network; a variant may name its own.
Variants with an `imitation` above 0 train with the --teacher and are left out without one; the others ignore it.
Started again, the command skips finished runs and resumes an interrupted one; the table is written after every run.

examples:
  pelee-ablate design --root VOCdevkit --backbone peleenet-tiny-imagenet --output runs/design
  pelee-ablate ingredients --root VOCdevkit --output runs/ingredients --only giou,mosaic

exit codes: 0 done, 2 an error, in one line; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = new_parser(
        prog="pelee-ablate",
        description="Train variants of a detector with an equal budget, and write a table of accuracy and cost.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("comparison", help=f"a shipped study ({', '.join(recipe_names(COMPARISONS))}) or a YAML file")
    add_dataset_options(parser, default="voc")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of compare.md, compare.json and a folder for each run"
    )
    parser.add_argument("--only", type=word_list, metavar="A,B", help="these variants and the first of the file")
    parser.add_argument(
        "--backbone", action="append", default=[], metavar="[MODEL=]START", help="weights from which a backbone starts"
    )
    parser.add_argument("--teacher", metavar="FILE", help="teacher of the variants with imitation, see pelee-train")
    parser.add_argument(
        "--table", action="store_true", help="do not train; measure times and write the table of the finished runs"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-ablate` and return its exit code."""
    options, arguments = build_parser().parse_known_args(argv)
    return run(lambda: _main(options, arguments))


def plan_options(options: argparse.Namespace, arguments: Sequence[str]) -> PlanOptions:
    """Return the plan's options from the command's own and the arguments for pelee-train."""
    from data.settings_flags import given_settings, parse_settings
    from detection.commands.train import build_parser as build_train_parser
    from detection.training.settings import TrainSettings

    return PlanOptions(
        dataset=options.dataset,
        root=find_root(options.dataset, options.root),
        output=options.output,
        only=options.only,
        backbones=backbones_by_model(options.backbone),
        teacher=options.teacher,
        settings=given_settings(parse_settings(build_train_parser(), TrainSettings, arguments)),
        arguments=arguments,
    )


def _main(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from detection.ablation.table import write_table

    runs = plan(read_comparison(options.comparison), plan_options(options, arguments))
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
