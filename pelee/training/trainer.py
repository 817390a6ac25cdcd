"""What the trainers of the classifier and of the detector share: optimiser, schedule, Lightning trainer."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from torch import nn

from data.errors import SettingsError
from pelee.training.allocator import tune_allocator
from pelee.training.callbacks import AtomicCheckpoints, Plateau, StepCheckpoint
from pelee.training.ema import average
from pelee.training.loggers import build_loggers
from pelee.training.optimization import OptimizationSettings
from pelee.training.precision import resolve_precision
from pelee.training.recipes import to_plain

LIGHTNING_PRECISION = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def build_trainer(
    settings: OptimizationSettings,
    output: Path,
    *,
    monitor: str,
    devices: int = 1,
    accelerator: str = "auto",
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> pl.Trainer:
    """A Lightning trainer that logs to `output`, keeps `best.ckpt` and `last.ckpt` there, and resumes from the last.

    `last.ckpt` is written every `checkpoint_every` steps and at every epoch's end.

    Args:
        monitor: the logged value, higher is better, that the best checkpoint and early stopping go by.
        devices: processes; more than one trains with DDP.
    """
    settings, _ = resolve_precision(settings, accelerator)
    used: list[Callback] = [
        ModelCheckpoint(
            output, filename="best", monitor=monitor, mode="max", save_top_k=1, enable_version_counter=False
        ),
        StepCheckpoint(
            output,
            filename="last",
            every_n_train_steps=settings.checkpoint_every,
            save_top_k=1,
            enable_version_counter=False,
        ),
        ModelCheckpoint(
            output,
            filename="last",
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            save_top_k=1,
            enable_version_counter=False,
        ),
        *callbacks,
    ]
    if settings.ema_decay:
        used.append(WeightAveraging(avg_fn=average(settings.ema_decay)))
    if settings.schedule == "plateau":
        used.append(Plateau(monitor, settings.gamma, settings.plateau_patience))
    if settings.patience is not None:
        used.append(EarlyStopping(monitor, mode="max", patience=settings.patience))
    if progress:
        used.append(TQDMProgressBar(refresh_rate=10))
    # What it says by itself repeats the settings, advertises, or advises against what is meant here.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # The loaders cannot be resumed; their samplers are, which Lightning does not know.
    for advice in (
        "module.s. in eval mode",  # what is frozen
        "dataloader is not resumable",
        "exists and is not empty",
        "smaller than the logging interval",
        "does not have many workers",
        "could not find the monitored key",  # a run that ends before its first validation: `fit` measures then
        "isinstance.treespec, LeafSpec",  # Lightning's own use of torch
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
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=build_loggers(output, to_plain(settings), settings.mlflow),
        callbacks=used,
        plugins=[AtomicCheckpoints()],
        enable_progress_bar=progress,
        enable_model_summary=False,  # pelee-models counts
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        use_distributed_sampler=False,
    )


def check_output(output: Path, resume: bool) -> None:
    """Raise SettingsError where there is nothing to resume, or where a run would write over an earlier one."""
    begun = (output / "last.ckpt").is_file()
    if resume and not begun:
        raise SettingsError(f"nothing to resume: {output / 'last.ckpt'} does not exist")
    if begun and not resume:
        raise SettingsError(f"{output} holds an earlier run; go on with it by --resume, or name another --output")


def fit(trainer: pl.Trainer, module: pl.LightningModule, output: Path, resume: bool) -> float:
    """Train, or go on from `output/last.ckpt`; the module ends with the weights that did best on the held-out split.

    The last weights are measured, too, where the run does not end with a validation (`module.validated_step` says
    when that was). The last measurement of all is that of the weights that the module ends with.

    Returns:
        The monitored value of these weights, as the module logs it.

    Raises:
        KeyboardInterrupt: ctrl-C.
    """
    last = output / "last.ckpt"
    tune_allocator()  # for who trains from Python; the commands have called it, before torch was there
    try:
        trainer.fit(module, ckpt_path=str(last) if resume else None, weights_only=True)
    except SystemExit:  # what Lightning makes of ctrl-C
        raise KeyboardInterrupt from None
    # The weights in the checkpoints are averages; it would put the run's last one in their place to measure them.
    trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, WeightAveraging)]  # type: ignore[attr-defined]
    best = trainer.checkpoint_callbacks[0]
    assert isinstance(best, ModelCheckpoint) and best.monitor is not None
    score = -1.0 if best.best_model_score is None else float(best.best_model_score)
    if module.validated_step != trainer.global_step:
        take_weights(module, last)
        (final,) = trainer.validate(module, verbose=False)
        if final[best.monitor] > score:
            return float(final[best.monitor])
    if take_weights(module, Path(best.best_model_path))["global_step"] != module.validated_step:
        trainer.loggers = []  # they have it, of the step where it was measured first
        trainer.validate(module, verbose=False)
    return score


def take_weights(module: nn.Module, path: Path) -> dict[str, Any]:
    """Load a checkpoint's weights, their moving average where there is one, into a module; returns all of it."""
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    return checkpoint


def to_tensors(module: nn.Module) -> dict[str, np.ndarray]:
    """A module's state as arrays on the CPU."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
