"""Training of a classifier with PyTorch Lightning: any network of the registry, with or without a teacher."""

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from data.errors import DatasetError, SettingsError
from pelee.classification.training.augmentation import Augmentation
from pelee.classification.training.dataset import ClassificationBatch, ImageBatches, fingerprint
from pelee.classification.training.distillation import classifier_input, distillation_loss
from pelee.classification.training.sampler import ClassificationBatchSampler, sequential_batches
from pelee.classification.training.settings import ClassifierSettings, with_current_names
from pelee.runs.processes import SINGLE_PROCESS, Processes
from pelee.training.finetuning import freeze, parameter_groups, partition_parameters, summary
from pelee.training.optimization import build_optimizer
from pelee.training.precision import resolve_precision
from pelee.training.resume import check_output, check_same_run, describe_run
from pelee.training.schedules import with_schedule
from pelee.training.trainer import build_trainer, fit
from pelee.training.workers import resolve_workers, start_worker

MONITOR = "val/top1"


class ClassifierModule(pl.LightningModule):
    """Lightning module of a classifier: cross-entropy, optional distillation, top-1 and top-5 on the validation split.

    In training mode a network may return auxiliary logits after its own, (N, K) each, with a loss of their own.

    Args:
        taught: (N, K) a teacher's logits of all training images; None for no teacher.
        taken: names of the network's tensors that hold pretrained weights, to which `freeze`, `unfreeze_from` and
            `pretrained_lr` apply.

    Raises:
        SettingsError: a teacher for a network without a linear layer, or see
            `pelee.training.finetuning.partition_parameters`.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: ClassifierSettings,
        train: ImageBatches,
        val: ImageBatches,
        taught: Tensor | None = None,
        taken: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.settings = settings
        self.train_set, self.val_set = train, val
        self.augment = Augmentation(settings)
        self.taught = taught  # not a buffer: data, not part of a checkpoint
        self.student_head: nn.Linear | None = None
        if taught is not None:
            linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
            if not linear:
                raise SettingsError("the network has no linear layer, which distillation from a teacher needs")
            self.student_head = nn.Linear(linear[-1].in_features, taught.shape[1])
        self.total_steps = settings.total_steps(len(train.dataset))
        self.unreadable: set[str] = set()
        self.validated_step: int | None = None
        self.partition = partition_parameters(
            network, taken, settings.freeze, settings.unfreeze_from, settings.input_size
        )
        self.frozen = freeze(network, self.partition.frozen)
        self.train()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    # Data

    def train_dataloader(self) -> DataLoader[Any]:
        order = ClassificationBatchSampler(
            len(self.train_set.dataset),
            self.settings.batch_size,
            self.settings.seed,
            lambda: self.trainer.global_step,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return DataLoader(
            self.train_set,
            batch_size=None,
            sampler=order,
            num_workers=self.settings.workers or 0,
            worker_init_fn=start_worker,
            pin_memory=self.device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader[Any]:
        share = sequential_batches(
            len(self.val_set.dataset), 2 * self.settings.batch_size, self.trainer.global_rank, self.trainer.world_size
        )
        return DataLoader(
            self.val_set,
            batch_size=None,
            sampler=share,
            num_workers=self.settings.workers or 0,
            worker_init_fn=start_worker,
        )

    # Steps

    def on_fit_start(self) -> None:
        if self.settings.compile:
            self.network.compile()

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor | None:
        self.unreadable.update(batch.unreadable)
        if len(batch.labels) < 2:  # too few for batch norm
            return None
        settings = self.settings
        # A step's crops, dropout and mixing are the same whether or not the run was interrupted before it.
        torch.manual_seed((settings.seed * 1_000_003 + batch.step) * 1_000 + self.global_rank)
        targets = F.one_hot(batch.labels, len(self.train_set.dataset.class_names)).float()
        classes = targets.shape[1]
        if self.taught is not None:
            teacher = self.taught[batch.places.cpu()].to(self.device).float()
            targets = torch.cat([targets, (teacher / settings.temperature).softmax(1)], 1)
        with torch.autocast(self.device.type, enabled=False):
            size = settings.size_at(batch.step / self.total_steps)
            images, targets = self.augment(batch.images, targets, size)
        capture: AbstractContextManager[list[Tensor]] = nullcontext([])
        if self.student_head is not None:
            capture = classifier_input(self.network)
        with capture as features:
            outputs = self.network(images)
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss, *others = (
            F.cross_entropy(each.float(), targets[:, :classes], label_smoothing=settings.label_smoothing)
            for each in (logits, *auxiliary)
        )
        self.log("train/classes", loss, batch_size=len(images))
        for other in others:
            self.log("train/auxiliary", other, batch_size=len(images))
            loss = loss + settings.auxiliary_weight * other
        if self.student_head is not None:
            imitation = distillation_loss(
                self.student_head(features[0]).float(), targets[:, classes:], settings.temperature
            )
            self.log("train/teacher", imitation, batch_size=len(images))
            loss = loss + settings.distillation * imitation
        self.log("train/loss", loss, prog_bar=True, batch_size=len(images))
        self.log("train/lr", self.trainer.optimizers[0].param_groups[-1]["lr"], batch_size=len(images))
        return loss

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        self.unreadable.update(batch.unreadable)
        if not len(batch.labels):
            return
        size = self.settings.input_size
        images = batch.images.float()
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
        logits = self.network(images.contiguous(memory_format=torch.channels_last))
        hits = logits.topk(min(5, logits.shape[1])).indices == batch.labels[:, None]
        for name, value in ((MONITOR, hits[:, 0]), ("val/top5", hits.any(1))):
            self.log(name, value.float().mean(), prog_bar=True, batch_size=len(batch.labels), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.validated_step = self.global_step

    # Checkpoints

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Digests of the splits, by role."""
        return {"train": fingerprint(self.train_set.dataset), "val": fingerprint(self.val_set.dataset)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        describe_run(checkpoint, self.settings, self.train_set.dataset.class_names, self.fingerprints)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["settings"] = with_current_names(checkpoint["settings"])
        dataset = self.train_set.dataset
        check_same_run(checkpoint, self.settings, dataset.class_names, self.fingerprints, len(dataset))
        had_teacher = "student_head.weight" in checkpoint["state_dict"]
        if had_teacher != (self.student_head is not None):
            how = "with" if had_teacher else "without"
            raise SettingsError(f"the run was begun {how} a teacher; resume it {how} a teacher, or begin another")

    # Optimization

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        settings = self.settings
        slow = [one for name, one in self.network.named_parameters() if name in self.partition.pretrained]
        optimizer = build_optimizer(parameter_groups(self, slow, settings.lr, settings.pretrained_lr), settings)
        return with_schedule(optimizer, self.total_steps, settings)


def train(
    network: nn.Module,
    settings: ClassifierSettings,
    train_set: ImageBatches,
    val_set: ImageBatches,
    output: Path,
    *,
    taught: Tensor | None = None,
    taken: Collection[str] = (),
    resume: bool = False,
    finish: bool = False,
    processes: Processes = SINGLE_PROCESS,
    accelerator: str = "auto",
    progress: bool = True,
) -> tuple[ClassifierModule, dict[str, float]]:
    """Train a network; write checkpoints and logs to `output` and print which parameters train and which are frozen.

    Args:
        taught, taken: see `ClassifierModule`.
        resume: continue from `output/last.ckpt` as if the run had not been interrupted.
        finish: validate the checkpoints in `output` instead of training.
        processes: processes of the run, which share every batch equally.

    Returns:
        The module with the weights of the best validation, and their validation scores "top1" and "top5", 0 to 1.

    Raises:
        DatasetError: the splits have different classes.
        SettingsError: a batch too small for batch norm, nothing to resume, an earlier run in `output`, other settings
            than the resumed run's, or see `ClassifierModule`.
        KeyboardInterrupt: ctrl-C.
    """
    names, others = train_set.dataset.class_names, val_set.dataset.class_names
    if names != others:
        odd = sorted(set(names) ^ set(others))
        raise DatasetError(
            f"split {val_set.dataset.split} has {len(others)} classes, {train_set.dataset.split} {len(names)}; they "
            f"must be the same" + (f", and {odd[0]!r} is in one only" if odd else "")
        )
    count = processes.count
    smallest = min(settings.batch_size, len(train_set.dataset)) // max(count, 1)
    if count < 1 or settings.batch_size % count or smallest < 2:
        raise SettingsError(
            f"a batch of {settings.batch_size} over {count} processes and {len(train_set.dataset)} images leaves "
            f"{smallest} each; batch norm needs 2, and all the same number"
        )
    check_output(output, resume, finish)
    settings, _ = resolve_precision(settings, accelerator)
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    batches = 3 * settings.batch_size // count  # one of training, and one of validation, which is twice as large
    settings, reason = resolve_workers(
        settings, batches * 3 * train_set.size**2, on_gpu=on_gpu, devices=processes.devices
    )
    if reason:
        print(f"workers {settings.workers}: {reason}")
    module = ClassifierModule(network, settings, train_set, val_set, taught, taken)
    trainer = build_trainer(
        settings,
        output,
        monitor=MONITOR,
        steps=module.total_steps,
        processes=processes,
        accelerator=accelerator,
        progress=progress,
    )
    if trainer.is_global_zero:
        print(summary(network, module.partition, settings.pretrained_lr))
    fit(trainer, module, output, resume, finish)
    return module, {name: float(trainer.callback_metrics[f"val/{name}"]) for name in ("top1", "top5")}
