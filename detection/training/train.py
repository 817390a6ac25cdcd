"""Training of a detector: checks, the run and its result."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from data.datasets.records import Dataset
from data.errors import PeleeError
from detection.models.network import DetectorNetwork
from detection.training.distillation import MobileNetTeacher
from detection.training.lightning_module import MONITOR, VAL_BATCH, DetectorModule
from detection.training.settings import TrainSettings, check_fit
from pelee.runs.processes import SINGLE_PROCESS, Processes
from pelee.training.finetuning import summary
from pelee.training.precision import resolve_precision
from pelee.training.resume import check_output
from pelee.training.trainer import build_trainer, fit
from pelee.training.workers import resolve_workers


def fit_workers(settings: TrainSettings, processes: Processes, accelerator: str) -> TrainSettings:
    """Replace the number of workers by one that the machine can run, and print why it is another."""
    largest = max(settings.input_size, *(size for size, _ in settings.size_phases), 0)
    side = round(largest * (1 + settings.multi_scale))
    images = settings.batch_size // processes.count * side**2 + VAL_BATCH * settings.input_size**2
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    fitted, reason = resolve_workers(settings, 3 * images, on_gpu=on_gpu, devices=processes.devices)
    if reason:
        print(f"workers {fitted.workers}: {reason}")
    return fitted


def train(
    network: DetectorNetwork,
    settings: TrainSettings,
    train_set: Dataset,
    val_set: Dataset,
    output: Path,
    *,
    teacher: MobileNetTeacher | None = None,
    taken: Collection[str] = (),
    resume: bool = False,
    finish: bool = False,
    processes: Processes = SINGLE_PROCESS,
    accelerator: str = "auto",
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> DetectorModule:
    """Train a network; checkpoints and logs go to `output`.

    The returned module has the weights with the best score on the validation split, as their moving average if one is
    kept. The last weights are validated, too, if the run does not end with a validation. After a training with
    `multi_scale`, their batch norm statistics are those of `input_size` (`TrainSettings.batch_norm_images`); the
    checkpoints keep their own.

    Args:
        teacher: detector for feature distillation; None for none.
        taken: names of the network's tensors that hold pretrained weights, to which `freeze`, `unfreeze_from` and
            `pretrained_lr` apply.
        resume: continue from `output/last.ckpt` as if the run had not been interrupted.
        finish: validate the checkpoints in `output` instead of training.
        processes: processes of the run, which share every batch equally.

    Raises:
        DatasetError: a split without objects or with other classes than the training split.
        SettingsError: a batch that the processes cannot share, no run to resume, an earlier run in `output`,
            or a run with other settings.
        ImageError: an unreadable image.
        KeyboardInterrupt: ctrl-C.
    """
    check_fit(train_set, val_set, settings, processes.count)
    check_output(output, resume, finish)
    pl.seed_everything(settings.seed, workers=False, verbose=False)
    settings, _ = resolve_precision(settings, accelerator)
    settings = fit_workers(settings, processes, accelerator)
    module = DetectorModule(network, settings, train_set, val_set, teacher, taken)
    trainer = build_trainer(
        settings,
        output,
        monitor=MONITOR,
        steps=settings.total_steps(len(train_set.records)),
        processes=processes,
        accelerator=accelerator,
        callbacks=callbacks,
        progress=progress,
    )
    if taken and trainer.is_global_zero:
        print(summary(network, module.partition, settings.pretrained_lr))
    try:
        module.best_score = fit(trainer, module, output, resume, finish)
        if settings.multi_scale and settings.batch_norm_images:
            before, images = module.best_score, module.finish_batch_norm()
            trainer.loggers = []  # the score of the step is logged already
            (scores,) = trainer.validate(module, verbose=False)
            module.best_score = scores[MONITOR]
            if trainer.is_global_zero:
                size = settings.input_size
                print(f"batch norm of {images} images at {size} px: {MONITOR} {before:.4f} -> {module.best_score:.4f}")
    except PeleeError as error:
        # A loader's worker sends its error as a traceback that ends in "module.Error: message".
        _, traceback, last = str(error).rstrip().rpartition("\n")
        raise (type(error)(last.partition(": ")[2]) if traceback else error) from None
    return module
