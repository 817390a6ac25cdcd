"""Comparison of training runs: settings that differ, shortest names that distinguish the runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pelee.runs.run import TrainingRun

#: Settings that do not change the result of a run.
SAME_RESULT = {"workers", "checkpoint_every", "checkpoint_minutes", "compile"}


def distinguishing_names(runs: Sequence[TrainingRun]) -> list[str]:
    """Each run's folder name, with as many parent folders as distinguish it from the others."""
    parts = [run.folder.resolve().parts for run in runs]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        length = next((n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others)), len(own))
        names.append("/".join(own[-length:]))
    return names


def differing_settings(runs: Iterable[TrainingRun]) -> set[tuple[str, str]]:
    """(task, setting) pairs whose values differ between the runs of that task that have the setting."""
    values: dict[tuple[str, str], list[Any]] = {}
    for run in runs:
        for key, value in flatten(run.settings).items():
            values.setdefault((run.task, key), []).append(value)
    return {key for key, seen in values.items() if key[1] not in SAME_RESULT and any(v != seen[0] for v in seen)}


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with nested keys joined by dots: {"a": {"b": 1}} -> {"a.b": 1}."""
    values: dict[str, Any] = {}
    for key, value in settings.items():
        values |= {f"{key}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {key: value}
    return values
