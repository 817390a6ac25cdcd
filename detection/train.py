"""Training the detector on PyTorch Lightning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import DataLoader

from data.datasets.records import Dataset
from data.errors import DatasetError, PeleeError, SettingsError
from detection.dataset import Batch, EvaluationPictures, TrainBatches, TrainPictures, collate
from detection.distillation import Imitation, MobileNetTeacher
from detection.evaluate import merge_predictions
from detection.loss import multibox_loss
from detection.metrics import VocResult, evaluate_voc
from detection.model import DetectionGraph
from detection.network import DetectorNetwork
from detection.postprocess import Prediction, postprocess
from detection.settings import TrainSettings
from pelee.training.optimization import RESUMABLE, build_optimizer
from pelee.training.recipes import check_resumed, to_plain
from pelee.training.schedules import with_schedule
from pelee.training.trainer import build_trainer, check_output, fit

MONITOR = "val/mAP"


class DetectorTraining(pl.LightningModule):
    """One detector in training: multibox loss, and mAP (VOC, 11-point, IoU 0.5) on the held-out split.

    Args:
        teacher: its maps are imitated, too (see `detection.distillation`).
    """

    def __init__(
        self,
        network: DetectorNetwork,
        settings: TrainSettings,
        train: Dataset,
        val: Dataset,
        teacher: MobileNetTeacher | None = None,
    ) -> None:
        super().__init__()
        self.network: DetectorNetwork = network.to(memory_format=torch.channels_last)
        self.settings = settings
        self.train_set, self.val_set = train, val
        self.features, self.predict = network.features, network.predict
        self.imitation = None
        if teacher is not None:
            self.imitation = Imitation(network.map_channels, teacher.channels)
            self.teachers = (teacher.to(memory_format=torch.channels_last),)  # in a tuple, it is no part of this module
        self.found: list[tuple[int, Prediction]] = []
        self.validated_step: int | None = None  # when the held-out split was last measured
        self.result: VocResult | None = None  # what came of it; in the end, of the weights that `train` gives back
        self.best_score = 0.0  # their mAP, 0 to 1

    # Data

    def train_dataloader(self) -> DataLoader[Any]:
        batches = TrainBatches(
            self.train_set.records,
            len(self.train_set.class_names),
            self.settings,
            lambda: self.trainer.global_step,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return DataLoader(
            TrainPictures(self.train_set.records, self.settings),
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.settings.workers,
            pin_memory=self.device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader[Any]:
        share = EvaluationPictures(
            self.val_set.records, self.settings.input_size, self.trainer.global_rank, self.trainer.world_size
        )
        return DataLoader(share, batch_size=16, collate_fn=list, num_workers=self.settings.workers)

    # Steps

    def on_fit_start(self) -> None:
        if self.settings.compile:
            self.features, self.predict = torch.compile(self.features), torch.compile(self.predict)
        if self.imitation is not None:
            self.teachers[0].to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        maps = self.features(batch.images)
        logits, offsets = self.predict(maps)
        input_size = batch.images.shape[-1]
        priors = self.network.priors(input_size, self.settings.pixel_priors).to(logits.device)
        prior_maps = self.network.prior_maps(input_size, self.settings.pixel_priors)
        losses = multibox_loss(logits, offsets, batch.targets, priors, self.settings, prior_maps)
        loss = losses.classification + losses.localization
        size = len(batch.targets)
        if self.imitation is not None:
            with torch.no_grad():
                shown = self.teachers[0](batch.images)
            imitation = self.imitation(maps[-2:], shown)
            self.log("train/imitation", imitation, batch_size=size)
            loss = loss + self.settings.imitation * imitation
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        self.log("train/classification", losses.classification, batch_size=size)
        self.log("train/localization", losses.localization, batch_size=size)
        self.log("train/lr", self.trainer.optimizers[0].param_groups[-1]["lr"], batch_size=size)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.found = []
        graph = DetectionGraph(self.network, self.settings.input_size).to(self.device)
        self.detect = graph.__call__  # a module kept here would be a part of this one, and of its checkpoints

    def validation_step(self, batch: Sequence[tuple[int, Any, int, int]], batch_idx: int) -> None:
        images = torch.stack([torch.from_numpy(image) for _, image, _, _ in batch]).to(self.device)
        scores, boxes = (tensor.float().cpu().numpy() for tensor in self.detect(images))
        for place, (index, _, width, height) in enumerate(batch):
            self.found.append((index, postprocess(scores[place], boxes[place], width=width, height=height)))

    def on_validation_epoch_end(self) -> None:
        shares: list[Any] = [self.found]
        if dist.is_available() and dist.is_initialized():
            shares = [None] * dist.get_world_size()
            dist.all_gather_object(shares, self.found)
        predictions = merge_predictions(shares, len(self.val_set.records))
        result = evaluate_voc(predictions, self.val_set.records, self.val_set.class_names)
        self.log(MONITOR, result.map_11point, prog_bar=True, rank_zero_only=False)
        self.found, self.result = [], result
        self.validated_step = self.global_step

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["settings"] = to_plain(self.settings)
        checkpoint["class_names"] = list(self.train_set.class_names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_resumed(checkpoint["settings"], self.settings, RESUMABLE)
        if checkpoint["class_names"] != list(self.train_set.class_names):
            raise SettingsError("the run was begun with other classes than the data set has; begin another")
        if (self.imitation is not None) != any(name.startswith("imitation.") for name in checkpoint["state_dict"]):
            begun = "without a teacher" if self.imitation is not None else "with a --teacher"
            raise SettingsError(f"the run was begun {begun}; resume it so")

    # Optimisation

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        backbone = list(self.network.backbone.parameters())
        parts = [part for name, part in self.network.named_children() if name != "backbone"]
        if self.imitation is not None:
            parts.append(self.imitation)
        rest = [parameter for part in parts for parameter in part.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": backbone, "lr": self.settings.lr * self.settings.backbone_lr},
            {"params": rest},
        ]
        optimizer = build_optimizer(groups, self.settings)
        # Not the trainer's own estimate: that starts the loader's workers before a resumed run knows its step.
        return with_schedule(optimizer, self.settings.total_steps(len(self.train_set.records)), self.settings)


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
    resume: bool = False,
    devices: int = 1,
    accelerator: str = "auto",
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> DetectorTraining:
    """Train a network; checkpoints and logs go to `output`.

    The module that comes back holds the weights that did best on the held-out split, as their moving average where
    there is one. The last ones are measured, too, where the run does not end with a validation.

    Args:
        teacher: a detector whose maps the backbone is to imitate, too.
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
    module = DetectorTraining(network, settings, train_set, val_set, teacher)
    trainer = build_trainer(
        settings,
        output,
        monitor=MONITOR,
        devices=devices,
        accelerator=accelerator,
        callbacks=callbacks,
        progress=progress,
    )
    try:
        module.best_score = fit(trainer, module, output, resume)
    except PeleeError as error:
        # A loader's worker sends its error as a whole traceback, the last line of which is "module.Error: message".
        _, traceback, last = str(error).rstrip().rpartition("\n")
        raise (type(error)(last.partition(": ")[2]) if traceback else error) from None
    return module
