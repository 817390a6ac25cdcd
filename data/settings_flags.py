"""Command-line flags generated from a settings class: one flag for each field. Imports neither torch nor pydantic.

    add_settings_flags(parser, ServeSettings)
    options = parser.parse_args(argv)
    settings = ServeSettings(**given_settings(options))

Flags that are not given are absent from `given_settings`, so that recipes, environment variables and defaults hold.
Values are read here and validated by the settings class.
"""

import argparse
import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from data.errors import SettingsError, did_you_mean

PREFIX = "setting:"  # of the attributes in the namespace, so that a command's own options may have a field's name


@dataclasses.dataclass(frozen=True, slots=True)
class SettingsField:
    """One field of a settings class.

    Attributes:
        name: the field's name; the flag is `--name` with dashes.
        annotation: its type, with the metadata of `Annotated`.
        default: its default value.
        help: its text in the `Attributes:` section of the class that declares it.
        group: first line of the docstring of the class that declares it first.
    """

    name: str
    annotation: Any
    default: Any
    help: str
    group: str


def settings_fields(settings_class: type[Any]) -> list[SettingsField]:
    """Return the fields of a dataclass or a pydantic model, in their order."""
    hints = typing.get_type_hints(settings_class, include_extras=True)
    defaults = _defaults(settings_class)
    bases = [base for base in reversed(settings_class.__mro__) if inspect.get_annotations(base)]
    texts: dict[str, str] = {}
    groups: dict[str, str] = {}
    for base in bases:
        doc = _docstring(base)
        texts |= attribute_texts(doc)
        title = (doc.partition("\n")[0]).rstrip(".")
        for name in inspect.get_annotations(base):
            groups.setdefault(name, title)
    return [
        SettingsField(name, hints[name], default, texts.get(name, ""), groups[name])
        for name, default in defaults.items()
    ]


def attribute_texts(docstring: str) -> dict[str, str]:
    """Return the texts of a docstring's `Attributes:` section by name; `a, b: text` gives both the text."""
    _, _, section = docstring.partition("Attributes:\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    indent: int | None = None
    for line in section.splitlines():
        if not line.strip():
            break
        depth = len(line) - len(line.lstrip())
        indent = depth if indent is None else indent
        if depth < indent:
            break
        start = re.match(r"\s*(\w+(?:, \w+)*):\s+(.*)", line) if depth == indent else None
        if start:
            names = start[1].split(", ")
            texts |= dict.fromkeys(names, start[2].strip())
        else:
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return texts


def add_settings_flags(
    parser: argparse.ArgumentParser, settings_class: type[Any], *, exclude: Collection[str] = ()
) -> None:
    """Add a flag for every field of a settings class, in groups by the class that declares the field.

    The flag is the field's name with dashes; `--ema_decay` is a hidden, deprecated alias of `--ema-decay`. A boolean is
    `--balanced` or `--no-balanced`. Other values than text and lists of text are read as YAML, so that
    `--milestones '[0.5, 0.8]'` is a list, and `--milestones 0.5,0.8` too. Type, default and range stand in `--help`.

    Args:
        parser: the command's parser.
        settings_class: a dataclass or pydantic model whose docstring has an `Attributes:` section.
        exclude: names of fields without a flag, such as secrets.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in settings_fields(settings_class):
        if field.name in exclude:
            continue
        if field.group not in groups:
            groups[field.group] = parser.add_argument_group(field.group)
        _add_flag(groups[field.group], field)


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the settings' flags that were given, by field name."""
    return {name.removeprefix(PREFIX): value for name, value in vars(options).items() if name.startswith(PREFIX)}


def parse_settings(
    parser: argparse.ArgumentParser, settings_class: type[Any], arguments: Sequence[str]
) -> argparse.Namespace:
    """Parse arguments; an unknown flag is an error of one line that names the nearest one.

    `--balanced true` and `--balanced false` are accepted as deprecated spellings of `--balanced` and `--no-balanced`.

    Raises:
        SettingsError: an unknown flag, or an argument that belongs to none.
    """
    options, rest = parser.parse_known_args(_without_boolean_values(settings_class, arguments))
    if rest:
        flag = rest[0]
        if not flag.startswith("--"):
            raise SettingsError(f"unexpected argument {flag!r}; settings are given as --name value")
        name = flag[2:].partition("=")[0].replace("-", "_")
        known = [text[2:].replace("-", "_") for action in parser._actions for text in action.option_strings]
        known += [field.name for field in settings_fields(settings_class)]
        hint = did_you_mean(name, known) or f"see {parser.prog} --help"
        raise SettingsError(f"the command has an unknown key {name!r}; {hint}")
    return options


def to_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as the arguments that `add_settings_flags` reads."""
    arguments = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            arguments.append(f"--{flag}={value if isinstance(value, str) else json.dumps(value)}")
    return arguments


# Fields


def _docstring(settings_class: type[Any]) -> str:
    import inspect

    return inspect.cleandoc(settings_class.__doc__ or "")


def _defaults(settings_class: type[Any]) -> dict[str, Any]:
    if dataclasses.is_dataclass(settings_class):
        return {
            field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            for field in dataclasses.fields(settings_class)
        }
    return {name: info.get_default(call_default_factory=True) for name, info in settings_class.model_fields.items()}


def _members(annotation: Any) -> list[Any]:
    """Return the types of a union, without their metadata."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [member for one in typing.get_args(annotation) for member in _members(one)]
    return [annotation]


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a `Literal`, or the `choices` of metadata that has some (a registry's keys)."""
    if typing.get_origin(annotation) is typing.Annotated:
        for metadata in annotation.__metadata__:
            if choices := getattr(metadata, "choices", ()):
                return tuple(choices)
    return tuple(value for one in _members(annotation) if typing.get_origin(one) is Literal for value in one.__args__)


def _is_text(annotation: Any) -> bool:
    """Whether every member is a string or None, so that a value is taken as it is written."""
    return all(
        one in (str, type(None))
        or (typing.get_origin(one) is Literal and all(isinstance(v, str) for v in one.__args__))
        for one in _members(annotation)
    )


def _is_list(annotation: Any) -> bool:
    return any(one in (tuple, list) or typing.get_origin(one) in (tuple, list) for one in _members(annotation))


def _is_list_of_text(annotation: Any) -> bool:
    lists = [one for one in _members(annotation) if typing.get_origin(one) in (tuple, list)]
    return bool(lists) and all(_is_text(item) for one in lists for item in typing.get_args(one) if item is not ...)


def _metavar(annotation: Any) -> str:
    if choices := _choices(annotation):
        return "{" + ",".join(map(str, choices)) + "}"
    if _is_list(annotation):
        return "LIST"
    names = {int: "N", float: "X", str: "TEXT"}
    return next((names[one] for one in _members(annotation) if one in names), "VALUE")


# Flags


def _without_boolean_values(settings_class: type[Any], arguments: Sequence[str]) -> list[str]:
    """Replace `--name true`, `--name=false` and the like of boolean fields by `--name` or `--no-name`."""
    booleans = {field.name for field in settings_fields(settings_class) if _members(field.annotation) == [bool]}
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, joined, value = word.partition("=")
        if flag.startswith("--") and flag[2:].replace("-", "_") in booleans:
            if not joined and rest and rest[0].lower() in ("true", "false"):
                value = rest.pop(0)
            if value and value.lower() not in ("true", "false"):
                raise SettingsError(f"{flag}: {value!r} is neither true nor false; give {flag} or --no-{flag[2:]}")
            word = f"--no-{flag[2:].replace('_', '-')}" if value.lower() == "false" else flag
        kept.append(word)
    return kept


def _add_flag(group: Any, field: SettingsField) -> None:
    flag, dest = f"--{field.name.replace('_', '-')}", f"{PREFIX}{field.name}"
    text = f"{field.help.rstrip('.')} ({_shown(field.default)})"
    options: dict[str, Any] = {"dest": dest, "default": argparse.SUPPRESS}
    if _members(field.annotation) == [bool]:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {
            "type": lambda value: _read_value(flag, field.annotation, value),
            "metavar": _metavar(field.annotation),
        }
    group.add_argument(flag, help=text.replace("%", "%%"), **options)
    if "_" in field.name:
        group.add_argument(f"--{field.name}", help=argparse.SUPPRESS, **options)


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if default is None:
        return "none"
    return default if isinstance(default, str) else json.dumps(default, default=str)


def _read_value(flag: str, annotation: Any, text: str) -> Any:
    if _is_text(annotation):
        optional = type(None) in _members(annotation)
        return None if optional and text in ("null", "none") else text
    if _is_list(annotation) and text and text[0] not in "[{\"'":
        parts = [part.strip() for part in text.split(",") if part.strip()]
        # In YAML, * is an alias, yes a boolean and 10:30 a number.
        return parts if _is_list_of_text(annotation) else [_read_yaml(flag, part) for part in parts]
    return _read_yaml(flag, text)


def _read_yaml(flag: str, text: str) -> Any:
    """Return the value of a JSON or YAML text; without YAML, what is not JSON is text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        import yaml
    except ModuleNotFoundError:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"{flag}: {text!r} is no YAML value") from None
