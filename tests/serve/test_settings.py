"""Settings: the environment, flags over it, errors in one line, and no secret anywhere."""

import argparse
import re

import pytest

from data.errors import SettingsError
from serve.commands.serve import FLAGS, build_parser
from serve.settings import ServeSettings, load_settings

KEY = "0123456789abcdef-secret"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServeSettings.model_fields:
        monkeypatch.delenv(f"PELEE_{name.upper()}", raising=False)


def test_the_environment_and_flags_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELEE_PORT", "8123")
    monkeypatch.setenv("PELEE_QUEUE_SIZE", "7")
    monkeypatch.setenv("PELEE_MODELS", "pelee-voc, ./other")
    monkeypatch.setenv("PELEE_API_KEYS", f"{KEY},{KEY}2")
    monkeypatch.setenv("PELEE_CORS_ORIGINS", "")
    settings = load_settings(port=9000)
    assert (settings.port, settings.queue_size) == (9000, 7)
    assert settings.models == ("pelee-voc", "./other")
    assert [key.get_secret_value() for key in settings.api_keys] == [KEY, KEY + "2"]
    assert settings.cors_origins == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("port", "x"),
        ("deadline_s", "0"),
        ("deadline_s", "nan"),
        ("max_body_mb", "-1"),
        ("queue_size", "0"),
        ("precision", "f16"),
        ("models", ","),
        ("api_keys", "short"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PELEE_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"^PELEE_{name.upper()}: ") as caught:
        load_settings()
    assert "\n" not in str(caught.value) and (name != "api_keys" or "short," not in str(caught.value))


def test_a_flag_is_named_as_a_flag() -> None:
    with pytest.raises(SettingsError, match=r"^--max-body-mb: "):
        load_settings(max_body_mb=-1.0)


def test_what_is_shown_holds_no_secret() -> None:
    settings = load_settings(api_keys=[KEY])
    assert settings.redacted()["api_keys"] == 1
    assert KEY not in str(settings.redacted()) and KEY not in repr(settings)
    assert settings.redacted().keys() == ServeSettings.model_fields.keys()


def test_every_setting_but_the_keys_has_a_flag_whose_help_tells_the_default() -> None:
    actions = {action.dest: action for action in build_parser()._actions if action.dest != "help"}
    assert actions.keys() == ServeSettings.model_fields.keys() - {"api_keys"}
    for name, (_, _, text) in FLAGS.items():
        default = ServeSettings.model_fields[name].default
        if default not in (None, ()):
            found = re.search(r"\(([^():]+)[^()]*\)$", text)
            assert found and found[1] == str(default), name
    assert ", ".join(ServeSettings.model_fields["models"].default) in str(actions["models"].help)
    assert all(action.default is argparse.SUPPRESS for action in actions.values())


def test_flags_reach_the_settings() -> None:
    words = ["--model=a", "--model=b", "--port=81", "--batch-wait-ms=2.5", "--mode=throughput", "--log-level=debug"]
    settings = load_settings(**vars(build_parser().parse_args(words)))
    assert (settings.models, settings.port, settings.batch_wait_ms) == (("a", "b"), 81, 2.5)
    assert (settings.mode, settings.log_level) == ("throughput", "debug")
