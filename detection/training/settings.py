"""The settings of a training run: one typed place, filled from a YAML recipe and overridden by flags."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import Field

from data.datasets.registry import FORMATS
from data.errors import SettingsError
from detection.models.base import DetectorConfig, check_input_size
from detection.models.pelee import PeleeConfig
from detection.models.priors import COCO_SIZES, VOC_SIZES
from detection.models.registry import ARCHITECTURES
from detection.models.ssdlite import SSDLiteConfig
from detection.training.loss_settings import LossSettings
from pelee.training.optimization import OptimizationSettings
from pelee.training.recipes import resolve

RECIPES = files("detection.training") / "recipes"
PRIOR_SIZES = {"voc": VOC_SIZES, "coco": COCO_SIZES}
PELEES_OWN = ("res_blocks", "head_kernel", "use_38x38")
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(kw_only=True)
class TrainSettings(OptimizationSettings, LossSettings):
    """Everything that decides what a run of `pelee-train` gives, but where its data lie.

    Attributes:
        model: the network, "pelee" or its peer "ssdlite-mobilenetv2"; `input_size` is by default the published one's.
        train_split, val_split: splits, as `data.datasets.registry.open_dataset` names them.
        multi_scale: each batch's size is drawn from the multiples of 32 px within this share around the phase's.
        pixel_priors: at other input sizes than `input_size`, priors keep their size in pixels, not their share of it.
        prior_sizes: "voc" or "coco", the paper's two sets for Pelee; SSDLite's are one for both.
        res_blocks, head_kernel, use_38x38: the paper's design choices (`detection.models.pelee.PeleeConfig`), Pelee's alone.
        mosaic: probability that a training picture is a mosaic of four.
        mixup: probability that a training picture is the mean of two, with the objects of both.
        copy_paste: probability that a training picture has objects of another one pasted in.
        balanced: draw pictures of rare classes more often.
        backbone_lr: the backbone's learning rate as a share of `lr`.
        imitation: weight of the distance to the teacher's maps, where there is a teacher; with 40 its gradient on the
            backbone is about as large as that of SSD's loss.
    """

    model: Literal["pelee", "ssdlite-mobilenetv2"] = "pelee"
    train_split: str = "train"
    val_split: str = "val"
    multi_scale: Share = 0.0
    pixel_priors: bool = False
    prior_sizes: Literal["voc", "coco"] = "voc"
    res_blocks: bool = True
    head_kernel: Literal[1, 3] = 1
    use_38x38: bool = False
    mosaic: Share = 0.0
    mixup: Share = 0.0
    copy_paste: Share = 0.0
    balanced: bool = False
    backbone_lr: Share = 1.0
    imitation: Annotated[float, Field(ge=0)] = 40.0

    def network(self, num_classes: int) -> DetectorConfig:
        """The network that these settings describe, for `num_classes` classes of objects."""
        if self.model == SSDLiteConfig.architecture:
            return SSDLiteConfig(num_classes=num_classes, input_size=self.input_size)
        return PeleeConfig(
            num_classes=num_classes,
            input_size=self.input_size,
            prior_sizes=PRIOR_SIZES[self.prior_sizes],
            res_blocks=self.res_blocks,
            head_kernel=self.head_kernel,
            use_38x38=self.use_38x38,
        )


def resolve_settings(recipe: str | None, overrides: dict[str, Any], dataset: str | None = None) -> TrainSettings:
    """The settings of a run on that layout of data; see `pelee.training.recipes.resolve`."""
    entry = FORMATS.get(dataset or "")
    usual = {} if entry is None else {"train_split": entry.train_split, "val_split": entry.val_split}
    model = resolve(TrainSettings, RECIPES, recipe, overrides, usual).model
    architecture = ARCHITECTURES[model].config
    settings = resolve(TrainSettings, RECIPES, recipe, overrides, {**usual, "input_size": architecture().input_size})
    for size in (settings.input_size, *(size for size, _ in settings.size_phases)):
        check_input_size(size, architecture.input_multiple)
    for name in PELEES_OWN:
        if model != PeleeConfig.architecture and getattr(settings, name) != getattr(TrainSettings(), name):
            raise SettingsError(f"setting {name} is {getattr(settings, name)}, a choice that {model} does not have")
    return settings
