"""Lightning trainer of classifiers and detectors: checkpoints, loggers, early stopping, best weights."""

import logging
import re
import shutil
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from data.errors import ProcessLostError, SettingsError
from pelee.runs.loggers import build_loggers
from pelee.runs.processes import SINGLE_PROCESS, Processes
from pelee.training.allocator import tune_allocator
from pelee.training.callbacks import (
    AtomicCheckpoints,
    EpochCheckpoint,
    MovingAverage,
    Plateau,
    StepCheckpoint,
    TimeLimit,
    TrainingBar,
)
from pelee.training.divergence import DivergenceGuard
from pelee.training.optimization import OptimizationSettings
from pelee.training.recipes import to_plain
from pelee.training.resume import BEST, LAST, load_checkpoint
from pelee.training.workers import describe_lost_worker

LOG_EVERY = 20  # steps
PATIENCE = timedelta(minutes=5)  # of a process with the others: with a node that starts late or hangs
LIGHTNING_PRECISION = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def build_trainer(
    settings: OptimizationSettings,
    output: Path,
    *,
    monitor: str,
    steps: int | None = None,
    processes: Processes = SINGLE_PROCESS,
    accelerator: str = "auto",
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> pl.Trainer:
    """Return a Lightning trainer that writes its logs, `best.ckpt` and `last.ckpt` to `output`.

    `last.ckpt`, from which a run is resumed, is written every `checkpoint_every` steps or `checkpoint_minutes` and at
    the end of each epoch.

    Args:
        settings: optimization settings.
        output: folder of the run.
        monitor: logged score, higher is better, for the best checkpoint and early stopping.
        steps: of the whole run; a short one logs more than once in 20 steps.
        processes: processes of the run; more than one train with DDP.
        accelerator: Lightning's name: "auto", "cpu" or "gpu".
        callbacks: further callbacks, which run after the checkpoints.
        progress: show a progress bar.
    """
    limit = None if settings.max_minutes is None else TimeLimit(settings.max_minutes, output / LAST)
    interval: dict[str, Any] = {"every_n_train_steps": settings.checkpoint_every}
    if settings.checkpoint_minutes is not None:
        interval = {"train_time_interval": timedelta(minutes=settings.checkpoint_minutes)}
    used: list[Callback] = [
        ModelCheckpoint(
            output, filename="best", monitor=monitor, mode="max", save_top_k=1, enable_version_counter=False
        ),
        StepCheckpoint(
            output,
            filename="last",
            **interval,
            save_top_k=1,
            enable_version_counter=False,
        ),
        EpochCheckpoint(output, "last", limit),
        DivergenceGuard(settings.lr, settings.precision),
        *callbacks,
    ]
    if settings.ema_decay:
        used.append(MovingAverage(settings.ema_decay))
    if limit is not None:
        used.append(limit)  # after the moving average, which its checkpoint holds
    if settings.schedule == "plateau":
        used.append(Plateau(monitor, settings.gamma, settings.plateau_patience))
    if settings.patience is not None:
        # Not strict: an epoch that the time limit cuts has no score.
        used.append(EarlyStopping(monitor, mode="max", patience=settings.patience, strict=False))
    if progress:
        used.append(TrainingBar())
    # Lightning's own messages repeat the settings, advertise, or advise against what is intended here.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Lightning warns that the loaders cannot be resumed; it does not know that their samplers are.
    for advice in (
        "module.s. in eval mode",  # frozen modules
        "dataloader is not resumable",
        "exists and is not empty",
        "smaller than the logging interval",
        "does not have many workers",
        "could not find the monitored key",  # a run that ends before its first validation, which `fit` then makes
        "callbacks used to create the checkpoint",  # a run resumed with another `checkpoint_every`
        "isinstance.treespec, LeafSpec",  # a deprecated call in Lightning
    ):
        warnings.filterwarnings("ignore", f".*{advice}")
    return pl.Trainer(
        default_root_dir=output,
        max_epochs=settings.epochs,
        max_steps=-1 if settings.max_steps is None else settings.max_steps,
        precision=LIGHTNING_PRECISION[settings.precision],  # type: ignore[arg-type]
        gradient_clip_val=settings.gradient_clip,
        check_val_every_n_epoch=settings.validate_every,
        accelerator=accelerator,
        devices=processes.devices,
        num_nodes=processes.nodes,
        strategy=DDPStrategy(timeout=PATIENCE) if processes.count > 1 else "auto",
        logger=build_loggers(output, to_plain(settings), settings.mlflow),
        callbacks=used,
        plugins=[AtomicCheckpoints()],
        enable_progress_bar=progress,
        enable_model_summary=False,  # pelee-models prints one
        num_sanity_val_steps=0,
        log_every_n_steps=min(LOG_EVERY, max(1, (steps or LOG_EVERY) // 2)),
        benchmark=True,  # let cuDNN choose its algorithms by measuring; without effect on a CPU
        use_distributed_sampler=False,
    )


def fit(trainer: pl.Trainer, module: pl.LightningModule, output: Path, resume: bool, finish: bool = False) -> float:
    """Train, or resume from `output/last.ckpt`; the module then has the weights with the best validation score.

    The last weights are validated, too, if the run does not end with a validation (`module.validated_step` is the step
    of the latest one). The latest validation is always that of the weights with which the module ends.

    Args:
        trainer: of `build_trainer`.
        module: has `validated_step`.
        output: folder of the run.
        resume: continue from the last checkpoint.
        finish: validate the checkpoints of a run that was stopped instead of training.

    Returns:
        The monitored score of these weights, as the module logs it.

    Raises:
        SettingsError: a damaged checkpoint, or no room for the checkpoints.
        ProcessLostError: another process of the run ended, hangs, or cannot be reached; a worker ended.
        KeyboardInterrupt: ctrl-C.
    """
    last = output / LAST
    tune_allocator()  # for training from Python; the commands call it before torch is imported
    if finish:
        return _choose_checkpoint(trainer, module, output)
    check_space(output, module)
    if resume and (output / BEST).is_file():
        load_checkpoint(output / BEST)  # it is needed at the end, and damaged it is an error now
    try:
        trainer.fit(module, ckpt_path=str(last) if resume else None, weights_only=True)
    except SystemExit:  # Lightning raises it for ctrl-C
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if lost := describe_lost_worker(error):
            raise ProcessLostError(lost) from None
        if not (trainer.world_size > 1 and _is_lost_connection(error)):
            raise
        reason = re.sub(r"^\[\S+\] ", "", str(error)).partition(". ")[0]  # without the place in gloo's source
        raise ProcessLostError(f"the connection to another process of the run was lost ({reason})") from None
    best = _best_checkpoint(trainer)
    _say_stopped_early(trainer)
    # Checkpoints hold averaged weights; for a validation the callback would replace them by the last average.
    trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, WeightAveraging)]  # type: ignore[attr-defined]
    score = -1.0 if best.best_model_score is None else float(best.best_model_score)
    if module.validated_step != trainer.global_step:
        take_weights(module, last)
        (final,) = trainer.validate(module, verbose=False)
        if final[str(best.monitor)] > score:
            return float(final[str(best.monitor)])
    if take_weights(module, Path(best.best_model_path))["global_step"] != module.validated_step:
        trainer.loggers = []  # the score is logged already, at the step of its first validation
        trainer.validate(module, verbose=False)
    return score


def _is_lost_connection(error: RuntimeError) -> bool:
    """Return whether an error is one of torch.distributed or its backends; gloo's have no class of their own."""
    return isinstance(error, torch.distributed.DistError) or any(name in str(error) for name in ("gloo", "NCCL"))


def check_space(output: Path, module: nn.Module) -> None:
    """Raise SettingsError if the disk has no room for the checkpoints of a run.

    Each holds the weights, their moving average and up to two moments of the optimizer. There are two, and a third
    while one is replaced.
    """
    needed = 3 * 4 * sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    free = shutil.disk_usage(output if output.is_dir() else output.resolve().parent).free
    written = sum((output / name).stat().st_size for name in (BEST, LAST) if (output / name).is_file())
    if free + written < needed:
        raise SettingsError(
            f"{output}: {free / 1e6:.0f} MB free, and the checkpoints need {needed / 1e6:.0f} MB; free some space or "
            "choose another --output"
        )


def _best_checkpoint(trainer: pl.Trainer) -> ModelCheckpoint:
    best = trainer.checkpoint_callbacks[0]
    assert isinstance(best, ModelCheckpoint) and best.monitor is not None
    return best


def _say_stopped_early(trainer: pl.Trainer) -> None:
    for callback in trainer.early_stopping_callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch and trainer.is_global_zero:
            print(
                f"stopped early after epoch {callback.stopped_epoch + 1}: {callback.monitor} was not above "
                f"{float(callback.best_score):.4f} in {callback.patience} validations (patience)"
            )


def _choose_checkpoint(trainer: pl.Trainer, module: pl.LightningModule, output: Path) -> float:
    """Validate the best and the last checkpoint; the module then has the weights of the better one."""
    monitor = str(_best_checkpoint(trainer).monitor)
    trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, WeightAveraging)]  # type: ignore[attr-defined]
    trainer.loggers = []  # the curves of the run stay as they are
    found: list[tuple[float, Path]] = []
    errors: list[SettingsError] = []
    for path in (output / BEST, output / LAST):
        try:
            checkpoint = load_checkpoint(path)
        except FileNotFoundError:
            continue
        except SettingsError as error:
            errors.append(error)
            continue
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
        (scores,) = trainer.validate(module, verbose=False)
        print(f"{path.name}: step {checkpoint['global_step']}, {monitor} {scores[monitor]:.4f}")
        found.append((float(scores[monitor]), path))
    if not found:
        raise errors[0]
    score, path = max(found, key=lambda one: one[0])
    if path != found[-1][1]:
        take_weights(module, path)
        trainer.validate(module, verbose=False)
    return score


def take_weights(module: nn.Module, path: Path) -> dict[str, Any]:
    """Load the weights of a checkpoint, or their moving average if it has one, into a module; return the checkpoint."""
    checkpoint = load_checkpoint(path)
    module.load_state_dict(checkpoint["state_dict"])
    return checkpoint


def to_tensors(module: nn.Module) -> dict[str, np.ndarray]:
    """Return a module's state as arrays on the CPU."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
