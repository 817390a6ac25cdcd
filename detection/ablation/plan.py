"""Plan of an ablation study: the runs and their commands."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path
from data.errors import SettingsError
from data.settings_flags import to_arguments
from detection.ablation.experiment import Comparison, Run
from detection.models.registry import ARCHITECTURES


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of an ablation study that its file does not have.

    Attributes:
        dataset: format of the dataset.
        root: folder of the dataset.
        output: folder that holds a folder for each run.
        only: names of the variants to run besides the first; None for all.
        backbones: weights of the backbone by network.
        teacher: file of the teacher, for the variants with imitation.
        settings: settings over those of the file, for every run.
        arguments: the same settings, and other options, as arguments of `pelee-train`.
    """

    dataset: str
    root: Path
    output: Path
    only: Sequence[str] | None = None
    backbones: Mapping[str, str] = field(default_factory=dict)
    teacher: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Sequence[str] = ()


def plan(comparison: Comparison, options: PlanOptions) -> list[Run]:
    """Return the runs, the base first. All settings are validated, so that no run fails by them later."""
    from detection.training.settings import resolve_settings

    chosen = list(comparison.variants)
    if options.only is not None:
        for name in options.only:
            if name not in comparison.variants:
                raise SettingsError(f"no variant {name!r}; there are {', '.join(comparison.variants)}")
        chosen = [name for name in chosen if name in options.only or name == chosen[0]]
    runs = []
    for name in chosen:
        changed = comparison.variants[name]
        recipe = changed.get("recipe", comparison.recipe)
        own = {key: value for key, value in changed.items() if key not in ("recipe", "backbone")}
        settings = resolve_settings(recipe, {**comparison.settings, **options.settings, **own}, options.dataset)
        folder = options.output / name
        command = ["--dataset", options.dataset, "--root", str(options.root), "--output", str(folder)]
        command += ["--recipe", recipe] if recipe else []
        # in this order, because the last of two flags counts
        command += [*to_arguments(comparison.settings), *options.arguments, *to_arguments(own)]
        backbone = changed["backbone"] if "backbone" in changed else options.backbones.get(settings.model)
        command += ["--backbone", str(backbone)] if backbone is not None else []
        if changed.get("imitation"):
            if options.teacher is None:
                print(f"{name}: left out, it needs a --teacher", file=sys.stderr)
                continue
            command += ["--teacher", options.teacher]
        runs.append(Run(name, changed, settings, command, folder))
    return runs


def backbones_by_model(given: Sequence[str]) -> dict[str, str]:
    """Return the values of `--backbone` by network: START is for Pelee, MODEL=START for the network of that name."""
    from detection.training.settings import TrainSettings

    backbones = {}
    for word in given:
        model, named, start = word.partition("=")
        if not named or model not in ARCHITECTURES:  # a path may have a = in it
            model, start = TrainSettings.model, word
        backbones[model] = start
    return backbones


def is_done(one: Run) -> bool:
    """Return whether a run's model exists.

    Raises:
        SettingsError: it was trained with other settings.
    """
    from pelee.training.resume import RESUMABLE, check_resumed
    from weights.card import CARD_NAME, Card

    if not (one.model / CARD_NAME).is_file():
        return False
    try:
        check_resumed(Card.load(one.model).training["settings"], one.settings, RESUMABLE)
    except SettingsError as error:
        raise SettingsError(f"{one.folder}: {error}") from None
    return True


def train(one: Run) -> None:
    """Train a variant in a process of its own, or resume it.

    Raises:
        SettingsError: pelee-train failed; it has printed the reason.
    """
    begun = (one.folder / "last.ckpt").is_file()
    command = [
        sys.executable,
        "-m",
        "detection.commands.train",
        *one.words,
        "--no-export",
        *(["--resume"] if begun else []),
    ]
    started = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code and not (code == 1 and is_done(one)):  # 1: done, with a warning
        raise SettingsError(
            f"the run of {one.name} ended with exit code {code}; fix the cause and start this command again"
        )
    if not begun:  # the time of a part of a run is no rate
        with atomic_path(one.seconds_file) as aside:
            aside.write_text(json.dumps({"seconds": round(time.perf_counter() - started, 1)}) + "\n")
