"""YAML document: a settings file read into dataclasses, with the line and the key of every fault."""

import dataclasses
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from data.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    import yaml

T = TypeVar("T")
Keys = tuple[str | int, ...]

DEEPEST = 20  # nesting; a document that contains itself by an alias has no end
VARIABLE = re.compile(r"\$\{([^}]*)\}")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
MERGE = "tag:yaml.org,2002:merge"


class SettingFault(SettingsError):
    """Fault of one key below the place that is read; `from_yaml` and `__post_init__` raise it to name that key.

    A plain `SettingsError` from there names the place itself.
    """

    def __init__(self, keys: str | int | Keys, message: str) -> None:
        """Take the key, or the keys from the outer to the inner, and what is wrong."""
        super().__init__(message)
        self.keys = keys if isinstance(keys, tuple) else (keys,)


@dataclass(slots=True)
class YamlDocument:
    """Settings file.

    `values` are dicts, lists and str: every scalar is text ("no", "null" and "22:00" are what they look like), and
    `parse` converts it to the type of its field. An empty scalar is "". `${NAME}` in a value is replaced by the
    variable of the environment; faults show the name instead, so that no password gets into a message.

    Attributes:
        name: as in messages.
        values: the document.
        faults: faults so far, a line each, "watch.yaml, line 12: cameras.yard.size: ...".
    """

    name: str
    values: dict[str, Any]
    faults: list[str] = field(default_factory=list)
    _lines: dict[Keys, int] = field(default_factory=dict)  # 1-based, of the key or list item
    _variables: dict[str, str] = field(default_factory=dict)  # those of the environment that are in use

    @classmethod
    def read(cls, path: str | Path) -> "YamlDocument":
        """Read a file.

        Duplicate keys and unset variables are in `faults` afterwards.

        Raises:
            SettingsError: a file that is missing, not UTF-8, no YAML, or no mapping.
        """
        name = str(path)
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise SettingsError(f"{name}: {error.strerror or error}; expected a YAML file") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{name}: is no UTF-8 text; expected a YAML file") from None
        return cls.of_text(text, name)

    @classmethod
    def of_text(cls, text: str, name: str = "settings") -> "YamlDocument":
        """Parse a text; as `read`."""
        import yaml

        document = cls(name, {})
        loader: Any = None
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if isinstance(node, yaml.MappingNode):
                document.values = document._plain(node, (), loader)
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{name}, line {mark.line + 1}" if mark is not None else name
            problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
            raise SettingsError(f"{place}: is no valid YAML: {' '.join(str(problem).split())}") from None
        finally:
            if loader is not None:
                loader.dispose()
        if not isinstance(node, yaml.MappingNode):
            raise SettingsError(f"{name}: expected settings, `key: value` a line, and found none")
        return document

    def line(self, *keys: str | int) -> int | None:
        """Line of a key, 1-based; of the nearest one above it where it is not in the file itself; None for none."""
        while keys and keys not in self._lines:
            keys = keys[:-1]
        return self._lines.get(keys)

    def fault(self, keys: Iterable[str | int], message: str) -> str:
        """Add a fault of a key; return its line."""
        path = tuple(keys)
        line = self.line(*path)
        place = self.name if line is None else f"{self.name}, line {line}"
        key = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path).removeprefix(".")
        for variable, value in self._variables.items():
            message = message.replace(value, f"${{{variable}}}") if value else message
        text = f"{place}: {key}: {message}" if key else f"{place}: {message}"
        self.faults.append(text)
        return text

    def check_keys(self, known: Iterable[str], *keys: str | int) -> None:
        """Add a fault for each unknown key of a mapping, with the nearest known name."""
        names = list(known)
        for key in self.get(*keys, default={}):
            if key not in names:
                hint = did_you_mean(key, names) or f"known: {', '.join(sorted(names))}"
                self.fault((*keys, key), f"unknown key; {hint}")

    def get(self, *keys: str | int, default: Any = None) -> Any:
        """Return the plain value at some keys; the default where there is none."""
        value: Any = self.values
        for key in keys:
            container: Any = value if isinstance(value, dict | list) else ()
            try:
                value = container[key]
            except (KeyError, IndexError, TypeError):
                return default
        return value

    def parse(self, kind: type[T], *keys: str | int) -> T | None:
        """Convert the value at some keys to a type; None, and its faults, where it does not fit.

        Types: str, int, float, bool, Path, a StrEnum, `X | None` ("" is None), `tuple[X, ...]` (a single value is a
        tuple of one), `dict[str, X]`, a dataclass with such fields (the value is a mapping; fields with defaults may
        be absent), and any class with a classmethod `from_yaml(value)` of a plain value. Number ranges and what belongs
        together are checked by the `__post_init__` of the dataclass: it raises `SettingFault(field, message)`.
        """
        missing = object()
        value = self.get(*keys, default=missing)
        if value is missing:
            self.fault(keys[:-1], f"{keys[-1]!r} is missing")
            return None
        before = len(self.faults)
        parsed = self._convert(value, kind, keys)
        return parsed if len(self.faults) == before else None

    def check(self) -> None:
        """Raise the first fault as `SettingsError`; `faults` has all."""
        if self.faults:
            more = len(self.faults) - 1
            raise SettingsError(self.faults[0] + (f" (and {more} more; --check lists all)" if more else ""))

    def _convert(self, value: Any, kind: Any, keys: Keys) -> Any:
        origin = typing.get_origin(kind)
        if origin in (types.UnionType, typing.Union):
            (inner,) = (one for one in typing.get_args(kind) if one is not type(None))
            none = value == "" or (value == "null" and inner is not str)
            return None if none else self._convert(value, inner, keys)
        if origin is tuple:
            items = value if isinstance(value, list) else [value]
            return tuple(
                self._convert(item, typing.get_args(kind)[0], (*keys, index) if isinstance(value, list) else keys)
                for index, item in enumerate(items)
            )
        if origin is dict:
            if not isinstance(value, dict):
                self._expected(value, "names with values below them, `name: ...`", keys)
                return None
            return {key: self._convert(item, typing.get_args(kind)[1], (*keys, key)) for key, item in value.items()}
        try:
            if hasattr(kind, "from_yaml"):
                return kind.from_yaml(value)
            if dataclasses.is_dataclass(kind):
                return self._dataclass(value, kind, keys)
        except SettingFault as fault:
            self.fault((*keys, *fault.keys), str(fault))
            return None
        except SettingsError as error:
            self.fault(keys, str(error))
            return None
        return self._scalar(value, kind, keys)

    def _dataclass(self, value: Any, kind: Any, keys: Keys) -> Any:
        fields = {one.name: one for one in dataclasses.fields(kind) if one.init}
        if not isinstance(value, dict):
            self._expected(value, f"settings: {', '.join(fields)}", keys)
            return None
        before = len(self.faults)
        self.check_keys(fields, *keys)
        hints = typing.get_type_hints(kind)
        values = {key: self._convert(item, hints[key], (*keys, key)) for key, item in value.items() if key in fields}
        for name, one in fields.items():
            if name not in value and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
                self.fault(keys, f"{name!r} is missing")
        return kind(**values) if len(self.faults) == before else None

    def _scalar(self, value: Any, kind: Any, keys: Keys) -> Any:
        if not isinstance(value, str):
            return self._expected(value, "one value", keys)
        if kind is bool:
            if value.lower() in BOOLEANS:
                return BOOLEANS[value.lower()]
            return self._expected(value, "true or false", keys)
        if kind in (int, float):
            try:
                number = kind(value)
            except ValueError:
                number = float("nan")
            if number - number == 0:  # finite
                return number
            return self._expected(value, "a whole number" if kind is int else "a number", keys)
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            names = [str(one) for one in kind]
            if value in names:
                return kind(value)
            return self._expected(value, did_you_mean(value, names) or f"one of {', '.join(names)}", keys)
        if value == "":
            return self._expected(value, "a value", keys)
        return kind(value)

    def _expected(self, value: Any, expected: str, keys: Keys) -> None:
        shown = (
            "a mapping"
            if isinstance(value, dict)
            else "a list"
            if isinstance(value, list)
            else ("nothing" if value == "" else repr(value))
        )
        hint = expected if expected.startswith("did you") else f"expected {expected}"
        self.fault(keys, f"found {shown}; {hint}")

    def _plain(self, node: "yaml.Node", keys: Keys, loader: Any) -> Any:
        """Return a node as dicts, lists and str, and note the lines of its keys."""
        import yaml

        if len(keys) > DEEPEST:
            raise SettingsError(f"{self.name}: nested more than {DEEPEST} levels deep, at {keys[0]!r}")
        if isinstance(node, yaml.MappingNode):
            for key, _ in self._pairs(node, keys):
                self._lines[(*keys, key.value)] = key.start_mark.line + 1
            loader.flatten_mapping(node)
            result = {}
            for key, item in node.value:
                name = str(key.value)
                self._lines.setdefault((*keys, name), key.start_mark.line + 1)
                result[name] = self._plain(item, (*keys, name), loader)
            return result
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._lines[(*keys, index)] = item.start_mark.line + 1
            return [self._plain(item, (*keys, index), loader) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return "" if node.value == "~" and node.style is None else self._with_variables(node.value, keys)

    def _pairs(self, node: "yaml.MappingNode", keys: Keys) -> "Iterator[tuple[yaml.Node, yaml.Node]]":
        """Yield a mapping's own keys and values; a key that comes twice is a fault."""
        import yaml

        first: dict[str, int] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            if key.value in first:
                self._lines[(*keys, key.value)] = key.start_mark.line + 1
                self.fault((*keys, key.value), f"the key is in line {first[key.value]} already; expected it once")
            first.setdefault(key.value, key.start_mark.line + 1)
            yield key, item

    def _with_variables(self, text: str, keys: Keys) -> str:
        def replaced(found: re.Match[str]) -> str:
            name = found[1]
            if VARIABLE_NAME.fullmatch(name) is None:
                self.fault(keys, f"{found[0]} is no variable of the environment; expected ${{NAME}}")
            elif name not in os.environ:
                self.fault(keys, f"the environment has no variable {name}; set it before the start")
            else:
                self._variables[name] = os.environ[name]
            return self._variables.get(name, "")

        return VARIABLE.sub(replaced, text)
