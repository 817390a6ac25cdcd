"""Settings of a classifier training run, filled from a YAML recipe and overridden by flags. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated, Any, Literal

from data.classification.layouts import LAYOUTS
from data.errors import SettingsError
from pelee.training.choices import DeprecatedName, Interval
from pelee.training.optimization import OptimizationSettings
from pelee.training.recipes import resolve

TransformName = Literal[
    "flip-horizontal",
    "flip-vertical",
    "crop-and-pad",
    "scale",
    "translate",
    "rotate",
    "shear",
    "blur",
    "coarse-dropout",
    "multiply",
    "contrast",
    "colour-jitter",
]
RECIPES = files("pelee.classification.training") / "recipes"
Share = Annotated[float, Interval(ge=0, le=1)]
NotNegative = Annotated[float, Interval(ge=0)]
Finite = Annotated[float, Interval(finite=True)]
Deviation = Annotated[float, Interval(gt=0, finite=True)]
# Accepted in recipes and flags, and in older checkpoints and searches.
RENAMED = DeprecatedName("usual", "model")


def with_current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a checkpoint or a search, with renamed values replaced by their current names."""
    if "normalization" not in settings:
        return dict(settings)
    return {**settings, "normalization": RENAMED.current(settings["normalization"])}


@dataclass(frozen=True, kw_only=True)
class GivenNormalization:
    """Mean and standard deviation of R, G and B in units of 0 to 255, as `pelee-data statistics` prints them."""

    mean: tuple[Finite, Finite, Finite]
    std: tuple[Deviation, Deviation, Deviation]


@dataclass(kw_only=True)
class ClassifierSettings(OptimizationSettings):
    """Classifier, data and augmentation.

    Attributes:
        model_settings: arguments of the network's builder, over its defaults (`architecture_settings` of a card).
        train_split, val_split: splits of the dataset: its folders; by default the layout's.
        picture_size: side in pixels to which images are resized when read; they are kept in memory if they fit.
        crop_scale: smallest fraction of an image's area that a random crop keeps; 1 for no crop.
        flip: probability of a horizontal flip.
        policy: "trivial" (TrivialAugment, Müller and Hutter 2021) or "rand" (RandAugment, Cubuk et al. 2020), as
            in torchvision, or "none".
        erasing: probability that a rectangle of an image is erased (Zhong et al. 2017).
        mixup, cutmix: parameter of the beta distribution from which the mixing ratio of two images is drawn; 0 for
            none. With both, each batch uses one of them at random.
        label_smoothing: fraction of the target that is spread evenly over all classes.
        transforms: names of transforms of `pelee.classification.training.transforms`, in this order; their ranges are
            given there.
        transform_share: probability that an image is transformed; all transforms then apply.
        crop_to_box, box_margin, erase_background: crop of images with a box, see
            `data.classification.object_crop.ObjectCrop`.
        normalization: "model" for the network's own (that of the pretrained weights, else the paper's), "data" for mean
            and standard deviation of the training images, or these as numbers.
        grey: the network converts every image to grayscale.
        freeze: keep the pretrained tensors (of --weights) unchanged, batch norm statistics included; new tensors (the
            head of other classes) train.
        unfreeze_from: freeze pretrained tensors only up to this module; it and all modules after it train.
        pretrained_lr: learning rate of pretrained tensors that train, as a fraction of `lr`.
        auxiliary_weight: weight of the loss of auxiliary classifiers, for networks with some (0.4 as in torchvision).
        distillation: weight of the teacher's part of the loss; unused without a teacher.
        temperature: divisor of the teacher's and the student's logits, which softens them (Hinton et al. 2015).
        teacher_model: torchvision's name of the teacher's architecture.
        teacher_size: side of the teacher's input in pixels.
    """

    batch_size: Annotated[int, Interval(ge=1)] = 128
    lr: Annotated[float, Interval(gt=0)] = 0.1
    nesterov: bool = True
    weight_decay: Annotated[float, Interval(ge=0)] = 1e-4
    input_size: int = 64
    model_settings: dict[str, Any] = field(default_factory=dict)
    train_split: str = "train"
    val_split: str = "val"
    picture_size: Annotated[int, Interval(ge=8)] = 256
    crop_scale: Annotated[float, Interval(gt=0, le=1)] = 0.25
    flip: Share = 0.5
    policy: Literal["none", "trivial", "rand"] = "none"
    erasing: Share = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    transforms: tuple[TransformName, ...] = ()
    transform_share: Share = 0.5
    crop_to_box: bool = False
    box_margin: NotNegative = 0.0
    erase_background: bool = False
    normalization: Annotated[Literal["model", "data"] | GivenNormalization, RENAMED] = "model"
    grey: bool = False
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    freeze: bool = False
    unfreeze_from: str | None = None
    pretrained_lr: Annotated[float, Interval(gt=0, le=1)] = 1.0
    auxiliary_weight: NotNegative = 0.4
    distillation: NotNegative = 1.0
    temperature: Annotated[float, Interval(gt=0)] = 2.0
    teacher_model: str = "mobilenet_v2"
    teacher_size: Annotated[int, Interval(ge=32)] = 128


def resolve_settings(recipe: str | None, overrides: dict[str, Any], dataset: str | None = None) -> ClassifierSettings:
    """Return the settings of a run on that layout of data; see `pelee.training.recipes.resolve`."""
    defaults: dict[str, Any] = {}
    if dataset:
        layout = LAYOUTS[dataset]
        defaults = {
            "train_split": layout.train_split,
            "val_split": layout.val_split,
            "picture_size": layout.image_size,
            "input_size": layout.input_size,
        }
    settings = resolve(ClassifierSettings, RECIPES, recipe, overrides, defaults)
    for size in (settings.input_size, *(size for size, _ in settings.size_phases)):
        if size < 8:
            raise SettingsError(f"an input of {size} pixels is too small; take at least 8, and 32 or more for PeleeNet")
    return settings
