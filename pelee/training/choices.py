"""Settings whose values are the keys of a registry: `Annotated[str, KeyOf(REGISTRY)]`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


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
        if value not in self.registry:
            *others, last = map(repr, self.registry)
            expected = f"{', '.join(others)} or {last}" if others else last
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))
