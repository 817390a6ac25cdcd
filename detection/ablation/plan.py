"""Plan of an ablation study: the runs and their commands."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from data.atomic_files import atomic_path
from data.errors import SettingsError
from detection.ablation.experiment import Comparison, Run


def plan(comparison: Comparison, options: argparse.Namespace, words: Sequence[str]) -> list[Run]:
    """The runs, the one that the others are held against first; every setting is checked before any run begins.

    Args:
        options: the command's own; words: what goes to every pelee-train.
    """
    from detection.commands.train import build_parser as train_parser
    from detection.training.settings import resolve_settings
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
    from detection.models.pelee import PeleeConfig
    from detection.models.registry import ARCHITECTURES

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
    command = [sys.executable, "-m", "detection.commands.train", *one.words, *(["--resume"] if begun else [])]
    started = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise SettingsError(f"the run of {one.name} ended with exit code {code}; mend it and start this command again")
    if not begun:  # the time of half a run says nothing
        with atomic_path(one.seconds_file) as aside:
            aside.write_text(json.dumps({"seconds": round(time.perf_counter() - started, 1)}) + "\n")
