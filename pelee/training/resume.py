"""Resuming a run: the settings that may change, and the checks before a run begins or goes on. Imports no torch.

The checkpoints are written by `pelee.training.callbacks.StepCheckpoint` and its neighbors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import SettingsError
from pelee.training.recipes import to_plain

LAST = "last.ckpt"
BEST = "best.ckpt"
# Settings that may change when a run is resumed; any other change would make it another run.
RESUMABLE = {
    "precision",
    "workers",
    "patience",
    "checkpoint_every",
    "checkpoint_minutes",
    "max_minutes",
    "compile",
    "mlflow",
}


def check_output(output: Path, resume: bool) -> None:
    """Raise SettingsError if there is no run to resume, or if a new run would overwrite an earlier one."""
    begun = (output / LAST).is_file()
    if resume and not begun:
        raise SettingsError(f"nothing to resume: {output / LAST} does not exist")
    if begun and not resume:
        raise SettingsError(f"{output} holds an earlier run; continue it with --resume, or choose another --output")


def check_resumed(begun: Mapping[str, Any], settings: Any, resumable: set[str]) -> None:
    """Raise SettingsError if a run would be resumed with other settings than it was begun with."""
    now = to_plain(settings)
    for key, value in begun.items():
        if key not in resumable and value != now[key]:
            raise SettingsError(
                f"the run was begun with {key} {value!r} and cannot go on with {now[key]!r}; resume it with the "
                "command that began it, or begin another"
            )
