"""Ablation study as described by its file, and its runs; see `detection.commands.ablate`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import SettingsError
from pelee.training.recipes import recipe_names

if TYPE_CHECKING:
    from detection.training.settings import TrainSettings


COMPARISONS = files("detection.ablation") / "experiments"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ablation study.

    Attributes:
        recipe: recipe of all variants.
        settings: settings over it, for all variants.
        variants: settings over these, by the variant's name.
    """

    recipe: str | None
    settings: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """Run of a variant.

    Attributes:
        name: name of the variant.
        changed: its settings, `recipe` and `backbone`, as in the file.
        settings: all settings, resolved.
        words: arguments of `pelee-train`.
        folder: output folder.
    """

    name: str
    changed: Mapping[str, Any]
    settings: "TrainSettings"
    words: list[str]
    folder: Path

    @property
    def model(self) -> Path:
        """Folder of the model, which exists when the run is done."""
        return self.folder / "model"

    @property
    def seconds_file(self) -> Path:
        """File with the duration of the run."""
        return self.folder / "seconds.json"


def read_comparison(name_or_path: str) -> Comparison:
    """Read a shipped comparison, by its name, or a YAML file.

    Raises:
        SettingsError: it does not exist or is malformed.
    """
    import yaml

    names = recipe_names(COMPARISONS)
    if name_or_path in names:
        text = (COMPARISONS / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    elif Path(name_or_path).is_file():
        text = Path(name_or_path).read_text(encoding="utf-8")
    else:
        raise SettingsError(f"no comparison {name_or_path!r}: it is neither a file nor one of {', '.join(names)}")
    try:
        keys = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{name_or_path} is no YAML: {' '.join(str(error).split())}") from None
    known = {field.name for field in fields(Comparison)}
    if not isinstance(keys, dict) or not keys.keys() <= known or not isinstance(keys.get("variants"), dict):
        raise SettingsError(f"{name_or_path}: expected the keys recipe, settings and variants, a mapping")
    variants = {str(name): settings or {} for name, settings in keys["variants"].items()}
    if not variants or not all(isinstance(settings, dict) for settings in variants.values()):
        raise SettingsError(f"{name_or_path}: expected of each variant a name and its settings")
    return Comparison(keys.get("recipe"), keys.get("settings") or {}, variants)
