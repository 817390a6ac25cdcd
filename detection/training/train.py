"""Training of a detector: checks before it, the run, its result."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from data.datasets.records import Dataset
from data.errors import DatasetError, PeleeError, SettingsError
from detection.models.network import DetectorNetwork
from detection.training.distillation import MobileNetTeacher
from detection.training.lightning_module import MONITOR, DetectorModule
from detection.training.settings import TrainSettings
from pelee.training.finetuning import summary
from pelee.training.precision import resolve_precision
from pelee.training.trainer import build_trainer, check_output, fit


def check_fit(train_set: Dataset, val_set: Dataset, settings: TrainSettings, devices: int) -> None:
    """Raise what would else go wrong in the midst of a training, or after it: see `train`."""
    for dataset in (train_set, val_set):
        if not any((~record.difficult & ~record.crowd).any() for record in dataset.records):
            raise DatasetError(
                f"split {dataset.split} of {dataset.name} has {len(dataset.records)} pictures and not one object in "
                "them (difficult ones and crowds not counted); there is nothing to work with"
            )
    if train_set.class_names != val_set.class_names:
        raise DatasetError(f"split {val_set.split} has other classes than {train_set.split}; they must be the same")
    if devices < 1 or settings.batch_size % devices:
        raise SettingsError(f"a batch of {settings.batch_size} cannot be shared by {devices} processes alike")
    pictures = min(settings.batch_size, len(train_set.records))
    if pictures // devices < 2:
        raise SettingsError(
            f"a batch of {pictures} over {devices} processes leaves one with fewer than 2 pictures, and batch norm "
            "needs 2; take a larger batch, more pictures or fewer devices"
        )
    if len(val_set.records) < devices:
        raise SettingsError(f"split {val_set.split} has fewer pictures than the {devices} processes that share it")


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
    devices: int = 1,
    accelerator: str = "auto",
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> DetectorModule:
    """Train a network; checkpoints and logs go to `output`.

    The module that comes back holds the weights that did best on the held-out split, as their moving average where
    there is one. The last ones are measured, too, where the run does not end with a validation.

    Args:
        teacher: a detector whose maps the backbone is to imitate, too.
        taken: names of the network's tensors that hold pretrained weights, to which `freeze`, `unfreeze_from` and
            `pretrained_lr` apply.
        resume: go on from `output/last.ckpt` as if the run had never stopped.
        devices: processes, each with its share of every batch.

    Raises:
        DatasetError: a split without objects or with other classes than the training split.
        SettingsError: a batch that the processes cannot share, nothing to resume, an earlier run in `output`,
            or a run of other settings.
        ImageError: a picture that cannot be read.
        KeyboardInterrupt: ctrl-C.
    """
    check_fit(train_set, val_set, settings, devices)
    check_output(output, resume)
    pl.seed_everything(settings.seed, workers=False, verbose=False)
    settings, _ = resolve_precision(settings, accelerator)
    module = DetectorModule(network, settings, train_set, val_set, teacher, taken)
    trainer = build_trainer(
        settings,
        output,
        monitor=MONITOR,
        devices=devices,
        accelerator=accelerator,
        callbacks=callbacks,
        progress=progress,
    )
    if taken and trainer.is_global_zero:
        print(summary(network, module.partition, settings.pretrained_lr))
    try:
        module.best_score = fit(trainer, module, output, resume)
    except PeleeError as error:
        # A loader's worker sends its error as a whole traceback, the last line of which is "module.Error: message".
        _, traceback, last = str(error).rstrip().rpartition("\n")
        raise (type(error)(last.partition(": ")[2]) if traceback else error) from None
    return module
