"""Recipes: which settings hold, and the error of a file that is no recipe."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from data.errors import SettingsError
from pelee.training.recipes import recipe_names, resolve, to_plain


@dataclass(kw_only=True)
class Point:
    x: int = 1
    y: int = 2
    z: tuple[int, ...] = ()


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    (tmp_path / "far.yaml").write_text("x: 10\ny: 20\n")
    (tmp_path / "near.yaml").write_text("# all defaults\n")
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


def test_the_command_overrides_the_recipe_and_the_recipe_the_defaults(recipes: Path) -> None:
    assert recipe_names(recipes) == ["far", "near"]
    assert resolve(Point, recipes, None, {}, {}) == Point()
    assert resolve(Point, recipes, "far", {"y": 3}, {"x": 5, "z": [7]}) == Point(x=10, y=3, z=(7,))
    assert resolve(Point, recipes, str(recipes / "far.yaml"), {}, {}) == Point(x=10, y=20)
    assert resolve(Point, recipes, "near", {}, {}) == Point()
    assert to_plain(Point(z=(1, 2))) == {"x": 1, "y": 2, "z": [1, 2]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x 1: [", "is no YAML"),
        ("- 1", "holds a list; expected settings"),
        ("xx: 1", "has an unknown key 'xx'; did you mean 'x'"),
        ("x: near", "setting x: .*got 'near'"),
    ],
)
def test_a_file_that_is_no_recipe(recipes: Path, content: str, message: str) -> None:
    (recipes / "wrong.yaml").write_text(content)
    with pytest.raises(SettingsError, match=message) as error:
        resolve(Point, recipes, "wrong", {}, {})
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_is_told_with_the_known_ones(recipes: Path) -> None:
    with pytest.raises(SettingsError, match="no recipe 'fr': it is neither a file nor one of far, near"):
        resolve(Point, recipes, "fr", {}, {})
