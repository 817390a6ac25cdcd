"""Settings of a detector training run, filled from a YAML recipe and overridden by flags. Imports no torch."""

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

from data.datasets.registry import FORMATS
from data.errors import DatasetError, SettingsError
from detection.models.registry import ARCHITECTURES
from detection.training.loss_settings import CLASSIFICATION_LOSSES, LossSettings
from pelee.training.choices import Interval, KeyOf
from pelee.training.optimization import OptimizationSettings
from pelee.training.recipes import resolve

if TYPE_CHECKING:
    from data.datasets.records import Dataset
    from detection.models.network import DetectorConfig

RECIPES = files("detection.training") / "recipes"
Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(kw_only=True)
class TrainSettings(OptimizationSettings, LossSettings):
    """Detector, data and augmentation.

    Attributes:
        model: architecture, a key of `detection.models.registry.ARCHITECTURES`; it gives the default `input_size`.
        train_split, val_split: splits as `data.datasets.registry.open_dataset` names them; by default the format's.
        multi_scale: the size of each batch is drawn from the multiples of 32 px within this fraction of the input size.
        batch_norm_images: training images at `input_size` from which a run with `multi_scale` computes the batch norm
            statistics of its final weights, in place of those of mixed sizes; at most as many as it trains on. 0: none.
        pixel_priors: at other input sizes than `input_size`, priors keep their size in pixels instead of their fraction
            of the input.
        prior_sizes: the paper's prior sizes for VOC or COCO; Pelee only.
        res_blocks: residual blocks between backbone and heads (the paper, section 3); Pelee only.
        head_kernel: kernel size of the heads' convolutions; Pelee only.
        use_38x38: a head on the 38×38 map, too; Pelee only.
        backbone_model: backbone below Pelee's head: peleenet, or the name of a timm or torchvision network; Pelee only.
        mosaic: probability that a training image is a mosaic of four.
        mixup: probability that a training image is the mean of two, with the objects of both.
        copy_paste: probability that objects of another image are pasted into a training image.
        backgrounds: share of the training images that are crops without any object, against false alarms; not with a
            class loss that samples negatives by image (softmax, quality): no such image changes it.
        balanced: draw images of rare classes more often.
        freeze: keep the pretrained tensors (of --weights or --backbone) unchanged, batch norm statistics included; new
            tensors train.
        unfreeze_from: freeze pretrained tensors only up to this module; it and all modules after it train.
        pretrained_lr: learning rate of pretrained tensors that train, as a fraction of `lr`.
        backbone_lr: learning rate of the backbone as a fraction of `lr`, multiplied by `pretrained_lr` where it is
            pretrained.
        imitation: weight of the distance to the teacher's feature maps; at 40 its gradient on the backbone is about as
            large as that of the SSD loss.
    """

    model: Annotated[str, KeyOf(ARCHITECTURES)] = "pelee"
    train_split: str = "train"
    val_split: str = "val"
    multi_scale: Share = 0.0
    batch_norm_images: Annotated[int, Interval(ge=0)] = 4800
    pixel_priors: bool = False
    prior_sizes: Literal["voc", "coco"] = "voc"
    res_blocks: bool = True
    head_kernel: Literal[1, 3] = 1
    use_38x38: bool = False
    backbone_model: str = "peleenet"
    mosaic: Share = 0.0
    mixup: Share = 0.0
    copy_paste: Share = 0.0
    backgrounds: Share = 0.0
    balanced: bool = False
    freeze: bool = False
    unfreeze_from: str | None = None
    pretrained_lr: Annotated[float, Interval(gt=0, le=1)] = 1.0
    backbone_lr: Share = 1.0
    imitation: Annotated[float, Interval(ge=0)] = 40.0

    def network(self, num_classes: int) -> "DetectorConfig":
        """Return the config of the network for `num_classes` object classes."""
        architecture = ARCHITECTURES[self.model]
        own = {name: getattr(self, name) for name in architecture.settings}
        return architecture.config_class().from_settings(own, num_classes, self.input_size)


def resolve_settings(recipe: str | None, overrides: dict[str, Any], dataset: str | None = None) -> TrainSettings:
    """Return the settings of a run on a dataset of that format; see `pelee.training.recipes.resolve`.

    Where `overrides` give an input size and no phases, the recipe's phases of smaller inputs are kept.
    """
    entry = FORMATS.get(dataset or "")
    defaults: dict[str, Any] = {}
    if entry is not None:
        defaults = {"train_split": entry.train_split, "val_split": entry.tuning_split or entry.val_split}
    first = resolve(TrainSettings, RECIPES, recipe, overrides, defaults)
    model = first.model
    if "input_size" in overrides and "size_phases" not in overrides:
        # A recipe's phases are meant for its own input size.
        kept = [phase for phase in first.size_phases if phase[0] < first.input_size]
        overrides = {**overrides, "size_phases": kept}
    architecture = ARCHITECTURES[model]
    defaults["input_size"] = architecture.input_size
    settings = resolve(TrainSettings, RECIPES, recipe, overrides, defaults)
    for size in (settings.input_size, *(size for size, _ in settings.size_phases)):
        architecture.check_input_size(size)
    if settings.backgrounds and CLASSIFICATION_LOSSES[settings.class_loss].samples_negatives:
        raise SettingsError(
            f"backgrounds is {settings.backgrounds} with class_loss {settings.class_loss}, which takes nothing from an "
            "image without objects; expected class_loss focal"
        )
    of_any = {name: None for entry in ARCHITECTURES.values() for name in entry.settings}
    for name in of_any:
        if name not in architecture.settings and getattr(settings, name) != getattr(TrainSettings(), name):
            raise SettingsError(f"setting {name} is {getattr(settings, name)}, a choice that {model} does not have")
    return settings


def check_fit(train_set: "Dataset", val_set: "Dataset", settings: TrainSettings, devices: int) -> None:
    """Raise the errors of `train` that would otherwise occur during training or after it."""
    for dataset in (train_set, val_set):
        if not any((~record.difficult & ~record.crowd).any() for record in dataset.records):
            raise DatasetError(
                f"split {dataset.split} of {dataset.name} has {len(dataset.records)} images and no objects "
                "(difficult ones and crowds not counted); expected at least one object"
            )
    if train_set.class_names != val_set.class_names:
        raise DatasetError(f"split {val_set.split} has other classes than {train_set.split}; expected the same")
    if devices < 1 or settings.batch_size % devices:
        raise SettingsError(
            f"a batch of {settings.batch_size} is not divisible by {devices} processes; take a multiple of it"
        )
    images = min(settings.batch_size, len(train_set.records))
    if images // devices < 2:
        raise SettingsError(
            f"a batch of {images} over {devices} processes leaves one with fewer than 2 images, and batch norm "
            "needs 2; take a larger batch, more images or fewer devices"
        )
    if len(val_set.records) < devices:
        raise SettingsError(f"split {val_set.split} has fewer images than the {devices} processes that share it")
