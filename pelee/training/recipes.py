"""Recipes: settings of a training run from a YAML file and from flags, as a validated dataclass."""

import dataclasses
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from data.errors import SettingsError, did_you_mean

S = TypeVar("S")


def recipe_names(recipes: Traversable) -> list[str]:
    """Return the names of the shipped recipes, the YAML files of a folder."""
    return sorted(entry.name.removesuffix(".yaml") for entry in recipes.iterdir() if entry.name.endswith(".yaml"))


def read_recipe(name_or_path: str, recipes: Traversable, kind: type[Any]) -> dict[str, Any]:
    """Return the keys of a shipped recipe or of a YAML file; every key is a field of the dataclass `kind`."""
    import yaml

    names = recipe_names(recipes)
    if name_or_path in names:
        text, where = (recipes / f"{name_or_path}.yaml").read_text(), f"recipe {name_or_path}"
    elif Path(name_or_path).is_file():
        text, where = Path(name_or_path).read_text(), name_or_path
    else:
        raise SettingsError(f"no recipe {name_or_path!r}: it is neither a file nor one of {', '.join(names)}")
    try:
        keys = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"{where} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(keys, dict):
        raise SettingsError(f"{where} holds a {type(keys).__name__}; expected settings, one `key: value` a line")
    check_keys(keys, kind, where)
    return keys


def check_keys(keys: Mapping[str, Any], kind: type[Any], where: str) -> None:
    """Raise SettingsError for a key that is no field of `kind`; the message names the nearest one."""
    known = [field.name for field in dataclasses.fields(kind)]
    for key in keys:
        if key not in known:
            hint = did_you_mean(str(key), known) or f"known: {', '.join(sorted(known))}"
            raise SettingsError(f"{where} has an unknown key {key!r}; {hint}")


def resolve(
    kind: type[S], recipes: Traversable, recipe: str | None, overrides: Mapping[str, Any], defaults: Mapping[str, Any]
) -> S:
    """Return the settings of a run: `overrides` over the recipe over `defaults` over the fields' defaults.

    Raises:
        SettingsError: an unknown key, a value of a wrong type or out of range, or settings that are not valid
            together (the method `check` of `kind`).
    """
    from pydantic import TypeAdapter, ValidationError

    check_keys(overrides, kind, "the command")
    keys = {**defaults, **(read_recipe(recipe, recipes, kind) if recipe else {}), **overrides}
    try:
        settings = TypeAdapter(kind).validate_python(keys)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {place}: {first['msg']}, got {first['input']!r}") from None
    if (check := getattr(settings, "check", None)) is not None:
        check()
    return settings


def to_plain(settings: Any) -> dict[str, Any]:
    """Return the settings as plain values, as in a recipe file and a card."""
    from pydantic import TypeAdapter

    plain: dict[str, Any] = TypeAdapter(type(settings)).dump_python(settings, mode="json")
    return plain
