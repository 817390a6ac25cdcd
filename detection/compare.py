"""Compare ways to train at one equal budget: a run of pelee-train each, and a table.

    python -m detection.compare design --root VOCdevkit --backbone peleenet-tiny-imagenet --output runs/design

A comparison is a YAML file: `recipe`, what all runs start from; `settings` over it, the budget among them; and
`variants`, a name and its settings each, of which the first is what the others are held against. A variant may have
its own `recipe`, too, and its own `backbone`, as pelee-train takes it, or null for random weights. Each run is a
process of its own. Started again, the command skips the runs that are done and resumes the one that was not; the table
is written anew after every run.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path
from data.command_line import run
from data.errors import SettingsError
from detection.comparison import Comparison, Run, read_comparison

EPILOG = """\
What this command does not know is handed to every run's pelee-train: --devices, --max-steps 2000, ...
A --backbone is Pelee's, one of another network --backbone ssdlite-mobilenetv2=FILE; a variant may name its own.
A variant whose `imitation` is above 0 has the --teacher, and is left out where none is given; the others have none.

exit codes: 0 done, 2 an error, told in one line; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = argparse.ArgumentParser(
        prog="python -m detection.compare",
        description="Train variants at one equal budget and write a table of what each gives and costs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("comparison", help="a shipped comparison (design, ingredients, peer, recipes) or a YAML file")
    parser.add_argument("--dataset", choices=("voc", "coco", "yolo"), default="voc", help="layout of the data (voc)")
    parser.add_argument("--root", type=Path, required=True, help="the data set's folder")
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
    from detection.compare_table import write_table

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


def plan(comparison: Comparison, options: argparse.Namespace, words: Sequence[str]) -> list[Run]:
    """The runs, the one that the others are held against first; every setting is checked before any run begins.

    Args:
        options: the command's own; words: what goes to every pelee-train.
    """
    from detection.settings import resolve_settings
    from detection.train_cli import build_parser as train_parser
    from pelee.training.recipes import parse_overrides

    _, settings_words = train_parser().parse_known_args(list(words))
    backbones = backbones_by_model(options.backbone)
    chosen = list(comparison.variants)
    if options.only is not None:
        wanted = options.only.split(",")
        for name in wanted:
            if name not in comparison.variants:
                raise SettingsError(f"no variant {name!r}; there are {', '.join(comparison.variants)}")
        chosen = [name for name in chosen if name in wanted or name == chosen[0]]
    runs = []
    for name in chosen:
        changed = comparison.variants[name]
        recipe = changed.get("recipe", comparison.recipe)
        own = {key: value for key, value in changed.items() if key not in ("recipe", "backbone")}
        given = {**comparison.settings, **parse_overrides(settings_words), **own}
        settings = resolve_settings(recipe, given, options.dataset)
        folder = options.output / name
        command = ["--dataset", options.dataset, "--root", str(options.root), "--output", str(folder)]
        command += ["--recipe", recipe] if recipe else []
        # in this order, because the last of two flags counts
        command += [*to_words(comparison.settings), *words, *to_words(own)]
        backbone = changed["backbone"] if "backbone" in changed else backbones.get(settings.model)
        command += ["--backbone", str(backbone)] if backbone is not None else []
        if changed.get("imitation"):
            if options.teacher is None:
                print(f"{name}: left out, it needs a --teacher", file=sys.stderr)
                continue
            command += ["--teacher", options.teacher]
        runs.append(Run(name, changed, settings, command, folder))
    return runs


def backbones_by_model(given: Sequence[str]) -> dict[str, str]:
    """What `--backbone` names for each network: START for Pelee, MODEL=START for the one of that name."""
    from detection.architectures import ARCHITECTURES
    from detection.model import PeleeConfig

    backbones = {}
    for word in given:
        model, named, start = word.partition("=")
        if not named or model not in ARCHITECTURES:  # a path may have a = in it
            model, start = PeleeConfig.architecture, word
        backbones[model] = start
    return backbones


def to_words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as flags of pelee-train, which reads their values as YAML."""
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    return [f"--{key.replace('_', '-')}={value}" for key, value in values.items()]


def is_done(one: Run) -> bool:
    """Whether a run's model is there.

    Raises:
        SettingsError: it was made with other settings.
    """
    from pelee.training.optimization import RESUMABLE
    from pelee.training.recipes import check_resumed
    from weights.card import CARD_NAME, Card

    if not (one.model / CARD_NAME).is_file():
        return False
    try:
        check_resumed(Card.load(one.model).training["settings"], one.settings, RESUMABLE)
    except SettingsError as error:
        raise SettingsError(f"{one.folder}: {error}") from None
    return True


def train(one: Run) -> None:
    """Train a variant in a process of its own, or go on with it.

    Raises:
        SettingsError: pelee-train did not end well; it has said why.
    """
    begun = (one.folder / "last.ckpt").is_file()
    command = [sys.executable, "-m", "detection.train_cli", *one.words, *(["--resume"] if begun else [])]
    started = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise SettingsError(f"the run of {one.name} ended with exit code {code}; mend it and start this command again")
    if not begun:  # the time of half a run says nothing
        with atomic_path(one.seconds_file) as aside:
            aside.write_text(json.dumps({"seconds": round(time.perf_counter() - started, 1)}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
