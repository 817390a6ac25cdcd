"""The settings of a classifier's training: one typed place, filled from a YAML recipe and overridden by flags."""

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import Field

from data.errors import SettingsError
from pelee.classification.pictures import LAYOUTS
from pelee.settings import resolve
from pelee.training import OptimizationSettings

RECIPES = files("pelee.classification") / "recipes"

Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


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
        distillation: weight of the teacher's part of the loss, where there is a teacher.
        temperature: that soften its and the student's predictions are divided by (Hinton et al. 2015).
        teacher_model: torchvision's name of the teacher's architecture.
        teacher_size: side of the teacher's input in pixels.
    """

    batch_size: Annotated[int, Field(ge=1)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.1
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    input_size: int = 64
    model_settings: dict[str, Any] = field(default_factory=dict)
    train_split: str = "train"
    val_split: str = "val"
    picture_size: Annotated[int, Field(ge=8)] = 256
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 0.25
    flip: Share = 0.5
    policy: Literal["none", "trivial", "rand"] = "none"
    erasing: Share = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    distillation: NotNegative = 1.0
    temperature: Annotated[float, Field(gt=0)] = 2.0
    teacher_model: str = "mobilenet_v2"
    teacher_size: Annotated[int, Field(ge=32)] = 128


def resolve_settings(recipe: str | None, overrides: dict[str, Any], dataset: str | None = None) -> ClassifierSettings:
    """The settings of a run on that layout of data; see `pelee.settings.resolve`."""
    usual: dict[str, Any] = {}
    if dataset:
        layout = LAYOUTS[dataset]
        usual = {
            "train_split": layout.train_split,
            "val_split": layout.val_split,
            "picture_size": layout.picture_size,
            "input_size": layout.input_size,
        }
    settings = resolve(ClassifierSettings, RECIPES, recipe, overrides, usual)
    for size in (settings.input_size, *(size for size, _ in settings.size_phases)):
        if size < 8:
            raise SettingsError(f"an input of {size} pixels is too small; take at least 8, and 32 or more for PeleeNet")
    return settings
