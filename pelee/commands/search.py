"""`pelee-search`: search for a PeleeNet for a dataset and a budget."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.classification.layouts import LAYOUTS
from data.command_line import new_parser, positive_float, positive_int, run
from data.settings_flags import add_settings_flags, given_settings, parse_settings
from pelee.training.allocator import tune_allocator

EPILOG = """\
every setting of pelee-train-classifier is a flag here as well, and applies to all trials: --epochs 5 --batch-size 64
  (the search multiplies its learning rate and weight decay by factors)

examples:
  pelee-search --dataset cifar10 --root cifar10 --max-multiply-adds 50M --epochs 5 --trials 60 --output runs/search
  pelee-search --dataset imagefolder --root flowers --max-ms 8 --recipe quick --morph --output runs/flowers
the same command again resumes the search, the interrupted trial first; a larger --trials adds trials

--output: search.json (all trials), pareto.png, best.yaml (a recipe of pelee-train-classifier), trials/NUMBER (the runs)
exit codes: 0 done, 2 an error, in one line; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    from pelee.classification.training.settings import RECIPES, ClassifierSettings
    from pelee.training.recipes import recipe_names

    parser = new_parser(
        prog="pelee-search",
        description="Search the PeleeNet family with a Gaussian process for the best top-1 accuracy within a budget.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", choices=tuple(LAYOUTS), required=True, help="layout of the data under --root")
    parser.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the search; an existing search is resumed"
    )
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--max-multiply-adds", type=multiply_adds, metavar="N", help="limit for one image: 300M, 1.2G")
    budget.add_argument(
        "--max-ms", type=positive_float, metavar="MS", help="limit for one image on this machine's CPU, network only"
    )
    parser.add_argument(
        "--recipe", help=f"a shipped recipe ({', '.join(recipe_names(RECIPES))}) or a YAML file, for every trial"
    )
    parser.add_argument(
        "--trials", type=positive_int, default=50, metavar="N", help="total number of trials (%(default)s)"
    )
    parser.add_argument(
        "--random",
        type=positive_int,
        default=10,
        metavar="N",
        help="random trials before the Gaussian process starts (%(default)s)",
    )
    parser.add_argument(
        "--morph",
        action="store_true",
        help="a design that is wider or deeper than a finished one starts from its weights, with the same function",
    )
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "gpu"))
    parser.usage = "pelee-search --dataset LAYOUT --root FOLDER --output FOLDER [options] [settings]"
    add_settings_flags(parser, ClassifierSettings)
    return parser


def multiply_adds(text: str) -> float:
    """Parse `300M`, `1.2G` or a plain number, as the `type` of an argument."""
    factor = {"K": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:].upper())
    return positive_float(text[:-1]) * factor if factor else positive_float(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-search` and return its exit code."""
    return run(lambda: _main(sys.argv[1:] if argv is None else argv), "search", in_place_of=("train",))


def _main(arguments: Sequence[str]) -> int:
    tune_allocator()  # before torch is imported
    from pelee.classification.training.settings import ClassifierSettings, resolve_settings

    options = parse_settings(build_parser(), ClassifierSettings, arguments)  # `--help` ends here, without torch
    from data.classification.image_folder import open_image_folder
    from pelee.search.budget import Budget
    from pelee.search.report import print_table, write_report
    from pelee.search.study import ArchitectureSearch, SearchPlan

    settings = resolve_settings(options.recipe, given_settings(options), options.dataset)
    names = open_image_folder(options.dataset, options.root, settings.train_split).class_names
    budget = Budget(
        unit="ms" if options.max_ms else "multiply-adds",
        limit=options.max_ms or options.max_multiply_adds,
        classes=len(names),
        input_size=settings.input_size,
        given=settings.model_settings,
    )
    plan = SearchPlan(
        options.output,
        settings,
        options.dataset,
        options.root,
        names,
        budget,
        random=options.random,
        morph=options.morph,
        accelerator=options.accelerator,
    )
    search = ArchitectureSearch(plan)
    if done := search.attempted():
        print(f"{options.output} is resumed: {done} of {options.trials} trials are done", flush=True)
    while search.attempted() < options.trials:
        print(search.describe(search.step()), flush=True)
        write_report(search)
    print_table(write_report(search))
    print(f"plot: {options.output / 'pareto.png'}; the best design: {options.output / 'best.yaml'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
