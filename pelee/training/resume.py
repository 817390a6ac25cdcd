"""Resuming a run: its lock, what its checkpoints say about it, and the checks before it goes on. Imports no torch.

The checkpoints are written by `pelee.training.callbacks.StepCheckpoint` and its neighbors.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import SettingsError
from data.files.file_lock import try_lock
from pelee.training.recipes import to_plain

if TYPE_CHECKING:
    from pelee.training.optimization import OptimizationSettings

LAST = "last.ckpt"
BEST = "best.ckpt"
MODEL = "model"  # folder
LOCK = "run.lock"
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


# Schedules whose rate at a step does not depend on the number of epochs.
EXTENDABLE = ("geometric", "plateau", "triangular2")
# States of Lightning's checkpoint callbacks that are paths.
PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


# The folder


def check_output(output: Path, resume: bool, finish: bool = False) -> None:
    """Raise SettingsError if there is no run to resume or to finish, or if a run would overwrite what is there."""
    begun, has_best = (output / LAST).is_file(), (output / BEST).is_file()
    model = output / MODEL
    if model.exists() and not model.is_dir():
        raise SettingsError(f"{model} is a file where the model's folder goes; rename it, or choose another --output")
    if finish:
        if not begun and not has_best:
            raise SettingsError(f"nothing to finish: {output} holds neither {BEST} nor {LAST}")
        return
    if resume and not begun:
        raise SettingsError(f"nothing to resume: {output / LAST} does not exist")
    if begun and not resume:
        raise SettingsError(f"{output} holds an earlier run; continue it with --resume, or choose another --output")
    if not resume and (has_best or (model / "card.json").is_file()):
        found = BEST if has_best else MODEL
        raise SettingsError(f"{output} holds the {found} of an earlier run; choose another --output, or move it away")


@contextmanager
def lock(output: Path) -> Iterator[None]:
    """Lock a run's folder while it trains; the folder is created, and removed again if it stays empty.

    The lock ends with the process, however that ends.

    Raises:
        SettingsError: another training has the lock.
        OSError: the folder cannot be written to.
    """
    output.mkdir(parents=True, exist_ok=True)
    file = output / LOCK
    with file.open("a") as handle:
        if not try_lock(handle):
            raise SettingsError(f"another training runs in {output}; wait until it ends, or choose another --output")
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
            with suppress(OSError):  # the folder holds other files
                output.rmdir()


# The checkpoint


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        SettingsError: the file is damaged or no checkpoint.
    """
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        assert isinstance(checkpoint, dict)
    except FileNotFoundError:
        raise
    except Exception as error:  # unpickling raises anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        other = path.with_name(BEST)
        remedy = f"rename {other} to {path.name} to go on from it" if other.is_file() else "begin another run"
        raise SettingsError(f"{path} is damaged ({reason[:80]}); {remedy if path != other else 'remove it'}") from None
    found: dict[str, Any] = checkpoint
    return found


def describe_run(
    checkpoint: dict[str, Any], settings: Any, class_names: tuple[str, ...], fingerprints: Mapping[str, str]
) -> None:
    """Write into a checkpoint what a resumed run is compared with.

    Args:
        checkpoint: Lightning's.
        settings: settings of the run.
        class_names: names of the classes, by label.
        fingerprints: digest of each split, by its role ("train", "val").
    """
    checkpoint |= {"settings": to_plain(settings), "class_names": list(class_names), "data": dict(fingerprints)}


def check_same_run(
    checkpoint: dict[str, Any],
    settings: "OptimizationSettings",
    class_names: tuple[str, ...],
    fingerprints: Mapping[str, str],
    images: int,
) -> None:
    """Compare a checkpoint with the run that is to go on from it.

    Args:
        checkpoint: written by `describe_run`; its settings have their current names.
        settings, class_names, fingerprints: as in `describe_run`, of the resumed run.
        images: number of training images.

    Raises:
        SettingsError: other settings, classes or data.
    """
    begun = checkpoint["settings"]
    check_resumed(begun, settings, RESUMABLE | ({"epochs"} if may_extend(begun, settings, images) else set()))
    if checkpoint["class_names"] != list(class_names):
        raise SettingsError("the run was begun with other classes than the dataset has; start a new run")
    for role, digest in checkpoint.get("data", {}).items():
        if digest != fingerprints[role]:
            raise SettingsError(
                f"the {role} split has changed since the run was begun (images or annotations); resume it with the "
                "data that it was begun with, or start a new run"
            )


def forget_folder(checkpoint: dict[str, Any]) -> None:
    """Let the states of the checkpoint callbacks name files without their folder."""
    _map_paths(checkpoint, lambda path: Path(path).name)
    for state in _path_states(checkpoint):
        state["dirpath"] = ""


def restore_folder(checkpoint: dict[str, Any], folder: Path) -> None:
    """Let the states of the checkpoint callbacks refer to the run's folder, wherever it was when they were written.

    A best checkpoint that is missing there is forgotten, with its score.
    """
    has_best = (folder / BEST).is_file()
    _map_paths(checkpoint, lambda path: str(folder / Path(path).name))
    for state in _path_states(checkpoint):
        state["dirpath"] = str(folder)
        if state.get("monitor") and not has_best:
            state |= {"best_model_score": None, "best_model_path": "", "best_k_models": {}, "kth_best_model_path": ""}


def _path_states(checkpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        state
        for state in checkpoint.get("callbacks", {}).values()
        if isinstance(state, dict) and "best_model_path" in state
    ]


def _map_paths(checkpoint: Mapping[str, Any], change: Callable[[str], str]) -> None:
    for state in _path_states(checkpoint):
        state |= {key: change(state[key]) for key in PATHS if state.get(key)}
        state["best_k_models"] = {change(path): score for path, score in state["best_k_models"].items()}


# Settings


def may_extend(begun: Mapping[str, Any], settings: "OptimizationSettings", images: int) -> bool:
    """Return whether the epochs may be raised: whether every rate and input size of the steps done stays the same."""
    constant = settings.schedule == "multi-step" and not settings.milestones
    steps = begun["epochs"] * settings.steps_per_epoch(images)
    return (
        settings.epochs > begun["epochs"]
        and (constant or settings.schedule in EXTENDABLE)
        and not settings.size_phases
        and settings.max_steps is None
        and settings.warmup_steps <= steps // 10
    )


def check_resumed(begun: Mapping[str, Any], settings: Any, resumable: set[str]) -> None:
    """Raise SettingsError if a run would be resumed with other settings than it was begun with."""
    now = to_plain(settings)
    for key, value in begun.items():
        if key not in resumable and value != now[key]:
            hint = "; epochs can be raised where no rate of the steps done depends on them" if key == "epochs" else ""
            raise SettingsError(
                f"the run was begun with {key} {value!r} and cannot go on with {now[key]!r}; resume it with the "
                f"command that began it, or begin another{hint}"
            )
