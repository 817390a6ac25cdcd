"""Metadata of settings: ranges and renamed values, validated as pydantic's own."""

from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from pelee.training.choices import DeprecatedName, Interval, KeyOf


@pytest.mark.parametrize("limits", [{"ge": 0, "le": 1}, {"gt": 0}, {"lt": 3}])
@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("value", [-1, 0, 1, 2.5, 3, float("nan"), "many"])
def test_an_interval_accepts_what_field_accepts(limits: dict[str, Any], kind: type, value: Any) -> None:
    def outcome(metadata: Any) -> Any:
        try:
            return TypeAdapter(Annotated[kind, metadata]).validate_python(value)
        except ValidationError as error:
            return [(one["type"], one["msg"]) for one in error.errors()]

    assert repr(outcome(Interval(**limits))) == repr(outcome(Field(**limits)))


def test_a_finite_number_is_neither_infinite_nor_nan() -> None:
    finite = TypeAdapter(Annotated[float, Interval(finite=True)])
    assert finite.validate_python(1e30) == 1e30
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(ValidationError, match="finite number"):
            finite.validate_python(wrong)


def test_a_key_of_a_registry_may_be_added_later() -> None:
    registry = {"one": 1}
    adapter = TypeAdapter(Annotated[str, KeyOf(registry)])
    with pytest.raises(ValidationError, match="Input should be 'one'"):
        adapter.validate_python("two")
    registry["two"] = 2
    assert adapter.validate_python("two") == "two"


def test_a_deprecated_name_is_read_as_the_new_one() -> None:
    adapter = TypeAdapter(Annotated[str, DeprecatedName("usual", "model")])
    assert [adapter.validate_python(name) for name in ("usual", "model", "data")] == ["model", "model", "data"]
