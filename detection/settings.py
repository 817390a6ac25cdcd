"""The settings of a training run: one typed place, filled from a YAML recipe and overridden by flags."""

import dataclasses
import difflib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from data.datasets import USUAL_SPLITS
from data.errors import SettingsError
from detection.model import PeleeConfig, check_input_size
from detection.priors import COCO_SIZES, VOC_SIZES
from pelee.training import OptimizationSettings

RECIPES = files("detection") / "recipes"
PRIOR_SIZES = {"voc": VOC_SIZES, "coco": COCO_SIZES}

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(kw_only=True)
class TrainSettings(OptimizationSettings):
    """Everything that decides what a run of `pelee-train` gives, but where its data lie.

    Attributes:
        train_split, val_split: splits, as `data.datasets.open_dataset` names them.
        input_size: side of the network's input in pixels.
        size_phases: (size, share) pairs: that input size until that share of the schedule is over, `input_size`
            afterwards. Smaller inputs first cost a fraction and learn nearly as much.
        multi_scale: each batch's size is drawn from the multiples of 32 px within this share around the phase's.
        prior_sizes: "voc" or "coco", the paper's two sets.
        res_blocks, head_kernel, use_38x38: the paper's design choices (see `detection.model.PeleeConfig`).
        mosaic: probability that a training picture is a mosaic of four.
        balanced: draw pictures of rare classes more often.
        backbone_lr: the backbone's learning rate as a share of `lr`.
        validate_every: epochs from one mAP on the held-out split to the next.
        patience: validations without a better mAP before the run stops; None never stops early.
        checkpoint_every: steps from one `last.ckpt` to the next.
    """

    train_split: str = "train"
    val_split: str = "val"
    input_size: int = 304
    size_phases: tuple[tuple[int, Share], ...] = ()
    multi_scale: Share = 0.0
    prior_sizes: Literal["voc", "coco"] = "voc"
    res_blocks: bool = True
    head_kernel: Literal[1, 3] = 1
    use_38x38: bool = False
    mosaic: Share = 0.0
    balanced: bool = False
    backbone_lr: Share = 1.0
    validate_every: Annotated[int, Field(ge=1)] = 1
    patience: Annotated[int, Field(ge=1)] | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] = 500

    def network(self, num_classes: int) -> PeleeConfig:
        """The network that these settings describe, for `num_classes` classes of objects."""
        return PeleeConfig(
            num_classes=num_classes,
            input_size=self.input_size,
            prior_sizes=PRIOR_SIZES[self.prior_sizes],
            res_blocks=self.res_blocks,
            head_kernel=self.head_kernel,
            use_38x38=self.use_38x38,
        )


# What a run may change when it is resumed: all else would make it another run than the one that was begun.
RESUMABLE = {"workers", "patience", "checkpoint_every"}


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in RECIPES.iterdir() if entry.name.endswith(".yaml"))


def read_recipe(name_or_path: str) -> dict[str, Any]:
    """The keys of a shipped recipe, by its name, or of a YAML file."""
    if name_or_path in recipe_names():
        text, where = (RECIPES / f"{name_or_path}.yaml").read_text(), f"recipe {name_or_path}"
    elif Path(name_or_path).is_file():
        text, where = Path(name_or_path).read_text(), name_or_path
    else:
        raise SettingsError(f"no recipe {name_or_path!r}: it is neither a file nor one of {', '.join(recipe_names())}")
    try:
        keys = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"{where} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(keys, dict):
        raise SettingsError(f"{where} holds a {type(keys).__name__}; expected settings, one `key: value` a line")
    check_keys(keys, where)
    return keys


def check_keys(keys: dict[str, Any], where: str) -> None:
    """Raise SettingsError for a key that is no setting, naming the nearest one."""
    known = [field.name for field in dataclasses.fields(TrainSettings)]
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"{where} has an unknown key {key!r}{hint}")


def resolve_settings(recipe: str | None, overrides: dict[str, Any], dataset: str | None = None) -> TrainSettings:
    """The settings of a run: the defaults for that layout of data, the recipe over them, the overrides over both.

    Raises:
        SettingsError: an unknown key, a value of a wrong type or out of range.
    """
    check_keys(overrides, "the command")
    usual = dict(zip(("train_split", "val_split"), USUAL_SPLITS.get(dataset or "", ()), strict=False))
    keys = {**usual, **(read_recipe(recipe) if recipe else {}), **overrides}
    try:
        settings = TypeAdapter(TrainSettings).validate_python(keys)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {place}: {first['msg']}, got {first['input']!r}") from None
    if settings.nesterov and not settings.momentum:
        raise SettingsError("setting nesterov: it needs a momentum above 0")
    check_input_size(settings.input_size)
    for size, _ in settings.size_phases:
        check_input_size(size)
    return settings


def to_plain(settings: TrainSettings) -> dict[str, Any]:
    """The settings as plain values, as a recipe file and a card hold them."""
    plain: dict[str, Any] = TypeAdapter(TrainSettings).dump_python(settings, mode="json")
    return plain
