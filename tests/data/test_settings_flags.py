"""Flags generated from settings classes."""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

from data.errors import SettingsError
from data.settings_flags import (
    add_settings_flags,
    attribute_texts,
    given_settings,
    parse_settings,
    settings_fields,
    to_arguments,
)
from detection.training.settings import TrainSettings
from pelee.classification.training.settings import ClassifierSettings
from tests.support.paths import ROOT


@dataclass(kw_only=True)
class Base:
    """Optimization.

    Attributes:
        lr: learning rate, 100 % of it
            from the first step.
        low, high: limits.
    """

    lr: float = 0.1
    low: int = 1
    high: int | None = None


@dataclass(kw_only=True)
class Settings(Base):
    """Data.

    Attributes:
        ema_decay: decay of the average.
        balanced: rare classes more often.
        split: name.
        sizes: of the phases.
        kind: one of two.
    """

    ema_decay: float = 0.0
    balanced: bool = False
    split: str | None = None
    sizes: tuple[float, ...] = ()
    kind: Annotated[Literal["a", "b"], "metadata"] = "a"


class Model(BaseModel):
    """Service.

    Attributes:
        port: TCP port.
        names: models.
    """

    port: int = 8000
    names: tuple[str, ...] = ("x",)


def parser_of(settings_class: type[Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="command", allow_abbrev=False)
    add_settings_flags(parser, settings_class)
    return parser


def given(*words: str, settings_class: type[Any] = Settings) -> dict[str, Any]:
    return given_settings(parse_settings(parser_of(settings_class), settings_class, words))


def test_help_has_every_field_in_groups() -> None:
    parser = parser_of(Settings)
    parser.usage = "command"
    text = parser.format_help()
    assert text.index("Optimization:") < text.index("--lr X") < text.index("Data:") < text.index("--balanced, --no-")
    assert "100 % of it" in text and "from the first step (0.1)" in " ".join(text.split())
    assert "--kind {a,b}" in text and "--sizes LIST" in text and "--ema_decay" not in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--lr", "1e-3", "--high=5"], {"lr": 0.001, "high": 5}),
        (["--high", "null", "--split", "null"], {"high": None, "split": None}),
        (["--split", "2007"], {"split": "2007"}),
        (["--ema_decay", "0.5"], {"ema_decay": 0.5}),
        (["--sizes", "[0.5, 1]"], {"sizes": [0.5, 1]}),
        (["--sizes", "0.5,1"], {"sizes": [0.5, 1]}),
        (["--balanced"], {"balanced": True}),
        (["--no-balanced"], {"balanced": False}),
        (["--balanced", "false", "--lr", "2"], {"balanced": False, "lr": 2}),
        (["--balanced=true"], {"balanced": True}),
        (["--kind", "c"], {"kind": "c"}),  # for pydantic to refuse
    ],
)
def test_values(words: list[str], expected: dict[str, Any]) -> None:
    assert given(*words) == expected


def test_a_pydantic_model() -> None:
    assert given("--port", "80", "--names", "a,b", settings_class=Model) == {"port": 80, "names": ["a", "b"]}


@pytest.mark.parametrize("text", ["*", "yes", "null", "10:30", "2007", "a: b", "%x", "@x", "::1", "fe80::/10"])
def test_an_item_of_a_list_of_text_is_taken_as_it_is_written(text: str) -> None:
    """As YAML, these are an alias, a boolean, numbers, a mapping and errors."""
    assert given("--names", f"a, {text}", settings_class=Model) == {"names": ["a", text]}
    assert given("--names", text, settings_class=Model) == {"names": [text]}


def test_the_help_of_a_pydantic_model() -> None:
    assert [field.help for field in settings_fields(Model)] == ["TCP port.", "models."]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ema-decai", "1"], "unknown key 'ema_decai'; did you mean 'ema_decay'?"),
        (["--zzz", "1"], "unknown key 'zzz'; see command --help"),
        (["images"], "unexpected argument 'images'"),
        (["--sizes", "[0.5"], "--sizes: '[0.5' is no YAML value"),
        (["--balanced=2"], "neither true nor false"),
    ],
)
def test_errors(words: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        given(*words)
    assert message in str(error.value)


def test_settings_and_arguments_are_inverse() -> None:
    settings = {"lr": 0.5, "balanced": False, "sizes": [0.5, 1.0], "split": "a b", "high": None, "ema_decay": 0.9}
    assert given(*to_arguments(settings)) == settings


def test_attribute_texts_end_with_the_section() -> None:
    assert attribute_texts("Line.\n\nAttributes:\n    a, b: one\n        two\n    c: three\n\nMore: text.") == {
        "a": "one two",
        "b": "one two",
        "c": "three",
    }


@pytest.mark.parametrize("settings_class", [TrainSettings, ClassifierSettings])
def test_every_setting_of_the_trainers_has_a_help_text(settings_class: type[Any]) -> None:
    assert not [field.name for field in settings_fields(settings_class) if not field.help]


@pytest.mark.parametrize("module", ["detection.training.settings", "pelee.classification.training.settings"])
def test_settings_import_no_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
