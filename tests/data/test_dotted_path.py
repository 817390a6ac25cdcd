"""Objects by dotted path."""

from fractions import Fraction

import pytest

from data.dotted_path import load_object


def test_a_path_names_an_attribute_of_a_module() -> None:
    assert load_object("fractions:Fraction") is Fraction


@pytest.mark.parametrize(
    ("path", "error"), [("no_such_module:x", ModuleNotFoundError), ("math:nothing", AttributeError)]
)
def test_what_is_not_there_keeps_python_s_error(path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_object(path)
