"""LightningModule of a detector: multibox loss, distillation, and validation by VOC mAP."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import chain, islice, repeat
from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import DataLoader

from data.datasets.records import Dataset
from data.errors import SettingsError
from detection.evaluation.evaluate import merge_predictions
from detection.evaluation.label_mapping import relabel
from detection.evaluation.voc_ap import VocResult, evaluate_voc
from detection.inference.nms import postprocess
from detection.inference.prediction import Prediction
from detection.models.inference_model import DetectionGraph
from detection.models.network import DetectorNetwork
from detection.models.priors import PriorMap, generate_priors
from detection.training.dataset import (
    DetectionBatch,
    EpochLoader,
    EvaluationDataset,
    EvaluationSample,
    TrainDataset,
    fingerprint,
)
from detection.training.distillation import FeatureDistillationLoss, MobileNetTeacher
from detection.training.loss import multibox_loss
from detection.training.sampler import ResumableBatchSampler
from detection.training.settings import TrainSettings
from pelee.models.layers import recompute_batch_norm
from pelee.training.finetuning import freeze, parameter_groups, partition_parameters
from pelee.training.optimization import build_optimizer
from pelee.training.resume import check_same_run, describe_run
from pelee.training.schedules import with_schedule
from pelee.training.workers import start_worker

MONITOR = "val/mAP"
VAL_BATCH = 16  # images


class DetectorModule(pl.LightningModule):
    """Training of a detector: multibox loss, and mAP (VOC, 11-point, IoU 0.5) on the validation split.

    Args:
        teacher: adds a distillation loss on its feature maps (`detection.training.distillation`).
        taken: names of the network's tensors that hold pretrained weights, to which `freeze`, `unfreeze_from` and
            `pretrained_lr` apply.
    """

    def __init__(
        self,
        network: DetectorNetwork,
        settings: TrainSettings,
        train: Dataset,
        val: Dataset,
        teacher: MobileNetTeacher | None = None,
        taken: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.network: DetectorNetwork = network.to(memory_format=torch.channels_last)
        self.settings = settings
        self.train_set, self.val_set = train, val
        self.features, self.forward_head = network.features, network.forward_head
        self.imitation = None
        if teacher is not None:
            self.imitation = FeatureDistillationLoss(network.feature_channels, teacher.channels)
            self.teachers = (teacher.to(memory_format=torch.channels_last),)  # a tuple: not a submodule
        self.unreadable: set[str] = set()  # errors of images
        self.found: list[tuple[int, Prediction]] = []
        self.validated_step: int | None = None  # global step of the last validation
        self.result: VocResult | None = None  # of the last validation; after training, of the returned weights
        self.best_score = 0.0  # mAP of the returned weights, 0 to 1
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

    def train_dataloader(self) -> EpochLoader:
        trainer = self.trainer
        return self._loader(self.settings, lambda: trainer.global_step, trainer.global_rank, trainer.world_size)

    def _loader(self, settings: TrainSettings, steps_done: Callable[[], int], rank: int, processes: int) -> EpochLoader:
        records, num_classes = self.train_set.records, len(self.train_set.class_names)
        batches = ResumableBatchSampler(records, num_classes, settings, steps_done, rank, processes)
        dataset = TrainDataset(records, settings)
        return EpochLoader(dataset, batches, settings.workers or 0, pin_memory=self.device.type == "cuda")

    def val_dataloader(self) -> DataLoader[Any]:
        share = EvaluationDataset(
            self.val_set.records, self.settings.input_size, self.trainer.global_rank, self.trainer.world_size
        )
        return DataLoader(
            share,
            batch_size=VAL_BATCH,
            collate_fn=list,
            num_workers=self.settings.workers or 0,
            worker_init_fn=start_worker,
        )

    def on_train_end(self) -> None:
        loader = self.trainer.train_dataloader
        if isinstance(loader, EpochLoader):
            loader.close()

    # Steps

    def on_fit_start(self) -> None:
        if self.settings.compile:
            self.features, self.forward_head = torch.compile(self.features), torch.compile(self.forward_head)
        if self.imitation is not None:
            self.teachers[0].to(self.device)

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        self.unreadable.update(batch.unreadable)
        maps = self.features(batch.images)
        logits, offsets = self.forward_head(maps)
        input_size = batch.images.shape[-1]
        prior_maps = self.network.prior_maps(input_size, self.settings.pixel_priors)
        priors = _priors(prior_maps, logits.device)
        losses = multibox_loss(logits, offsets, batch.targets, priors, self.settings, prior_maps)
        loss = losses.classification + losses.localization
        size = len(batch.counts)
        if self.imitation is not None:
            with torch.no_grad():
                teacher_maps = self.teachers[0](batch.images)
            imitation = self.imitation(maps[-2:], teacher_maps)
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
        self.detect = graph.__call__  # a bound method: a module here would be a submodule and in the checkpoints

    def validation_step(self, batch: Sequence[EvaluationSample], batch_idx: int) -> None:
        images = torch.stack([torch.from_numpy(sample.image) for sample in batch]).to(self.device)
        scores, boxes = (tensor.float().cpu().numpy() for tensor in self.detect(images))
        for place, (index, _, width, height, error) in enumerate(batch):
            prediction = postprocess(scores[place], boxes[place], width=width, height=height)
            if error:
                self.unreadable.add(error)
                prediction = relabel(prediction, np.full(len(self.val_set.class_names), -1))  # without detections
            self.found.append((index, prediction))

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

    def finish_batch_norm(self) -> int:
        """Compute the batch norm statistics at `input_size` (`batch_norm_images`); returns the number of images."""
        settings, count = replace(self.settings, multi_scale=0.0, size_phases=()), len(self.train_set.records)
        steps = min(-(-settings.batch_norm_images // settings.batch_size), settings.total_steps(count))
        self.to(self.trainer.strategy.root_device)
        # All processes of a run take the same batches, so that their statistics are equal.
        loader = self._loader(settings, lambda: 0, rank=0, processes=1)

        def batches() -> Iterator[Tensor]:
            for batch in islice(chain.from_iterable(repeat(loader)), steps):
                self.unreadable.update(batch.unreadable)
                yield batch.images.to(self.device)

        self.train()
        with self.trainer.precision_plugin.forward_context():
            recompute_batch_norm(self.network, batches())
        loader.close()
        return steps * min(settings.batch_size, count)

    # Checkpoints

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Digests of the splits, by role."""
        return {"train": fingerprint(self.train_set), "val": fingerprint(self.val_set)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        describe_run(checkpoint, self.settings, self.train_set.class_names, self.fingerprints)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        images = len(self.train_set.records)
        check_same_run(checkpoint, self.settings, self.train_set.class_names, self.fingerprints, images)
        if (self.imitation is not None) != any(name.startswith("imitation.") for name in checkpoint["state_dict"]):
            begun = "without a teacher" if self.imitation is not None else "with a --teacher"
            raise SettingsError(f"the run was begun {begun}; resume it the same way")

    # Optimization

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        settings, named = self.settings, self.network.named_parameters()
        # With pretrained_lr 1, pretrained parameters need no separate group.
        slow = [one for name, one in named if settings.pretrained_lr != 1 and name in self.partition.pretrained]
        backbone = self.network.backbone.parameters()
        groups = parameter_groups(self, slow, settings.lr, settings.pretrained_lr, backbone, settings.backbone_lr)
        optimizer = build_optimizer(groups, self.settings)
        # Not trainer.estimated_stepping_batches: it starts the loader's workers before a resumed run knows its step.
        return with_schedule(optimizer, self.settings.total_steps(len(self.train_set.records)), self.settings)


@lru_cache(maxsize=32)
def _priors(maps: tuple[PriorMap, ...], device: torch.device) -> Tensor:
    """Priors of an input size on a device: a copy at each step would synchronize a GPU."""
    return generate_priors(maps).to(device)
