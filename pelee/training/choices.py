"""Metadata of settings for `Annotated`: `KeyOf`, `Interval`, `DeprecatedName`. Imports pydantic only to validate.

Settings classes are read by `--help`, too, which works without pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class KeyOf:
    """Annotation of a string setting that must be a key of a registry.

    The registry is read when a value is validated, so that entries can be added after the settings class is defined.
    """

    registry: Mapping[str, object]

    @property
    def choices(self) -> tuple[str, ...]:
        """The valid values, in the order of the registry."""
        return tuple(self.registry)

    def check(self, value: str) -> str:
        """Return `value` if it is a key; otherwise raise the error that pydantic raises for a `Literal`."""
        from pydantic_core import PydanticCustomError

        if value not in self.registry:
            *others, last = map(repr, self.registry)
            expected = f"{', '.join(others)} or {last}" if others else last
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, handler(source))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Range of an int or float setting, with the meaning and the errors of `pydantic.Field`.

    Attributes:
        ge, gt, le, lt: the value is at least, above, at most, below this; None for no bound.
        finite: infinity and NaN are errors; float only.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    finite: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        limits: dict[str, Any] = {name: getattr(self, name) for name in ("ge", "gt", "le", "lt")}
        limits = {name: limit for name, limit in limits.items() if limit is not None}
        if self.finite:
            limits["allow_inf_nan"] = False
        return cast("CoreSchema", {**handler(source), **limits})


@dataclass(frozen=True)
class DeprecatedName:
    """Annotation of a setting with a value that was renamed: the value `old` is read as `new`."""

    old: str
    new: str

    def current(self, value: Any) -> Any:
        """Return the present name of a value."""
        return self.new if value == self.old else value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.current, handler(source))
