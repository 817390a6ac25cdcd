"""The settings of a classifier's training: one typed place, filled from a YAML recipe and overridden by flags."""

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
    """Settings of a checkpoint or a search, with values that were renamed since it was written."""
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
    """Everything that decides what a run of `pelee-train-classifier` gives, but where its data lie.

    Attributes:
        model_settings: what the network's builder is called with, over its defaults (a card's
            `architecture_settings`).
        train_split, val_split: folders of the data set.
        picture_size: side in pixels at which pictures are read, and held in memory where they fit.
        crop_scale: smallest share of a picture's area that a random crop keeps; 1 leaves pictures whole.
        flip: probability of a mirrored picture.
        policy: "trivial" (TrivialAugment, Müller and Hutter 2021) or "rand" (RandAugment, Cubuk et al. 2020), as
            torchvision has them, or "none".
        erasing: probability that a rectangle of a picture is erased (Zhong et al. 2017).
        mixup, cutmix: parameter of the beta distribution that pairs of pictures are mixed by; 0 for none. With both,
            a batch takes one of them at random.
        label_smoothing: share of the target that is spread over all classes.
        transforms: names of `pelee.classification.training.transforms`, in this order; each says its range there.
        transform_share: probability that a picture is changed by them; it then passes all of them.
        crop_to_box, box_margin, erase_background: what is looked at of pictures with a box, see `data.classification.object_crop.ObjectCrop`.
        normalization: "model" for the network's own (that of the weights it starts from, else the paper's), "data" for
            mean and standard deviation of the training pictures as they are read, or these as numbers.
        grey: the network takes every picture's grey.
        freeze: what is taken from `--weights` stays as it is, batch norms with their running statistics; what is new
            (the head of other classes) trains.
        unfreeze_from: freeze what is taken as far as the module of this name only: it and all that a picture meets
            after it train.
        pretrained_lr: the learning rate of what is taken and trains, as a share of `lr`.
        auxiliary_weight: of the auxiliary classifiers' loss, where the network has some (0.4 is torchvision's).
        distillation: weight of the teacher's part of the loss, where there is a teacher.
        temperature: that soften its and the student's predictions are divided by (Hinton et al. 2015).
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
