"""Settings: environment, flags over it, one-line errors, no secret in any text."""

from dataclasses import fields

import pytest

from data.errors import SettingsError
from serve.settings import ServeSettings, load_settings

KEY = "0123456789abcdef-secret"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in fields(ServeSettings):
        monkeypatch.delenv(f"PELEE_{field.name.upper()}", raising=False)


def test_the_environment_and_flags_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELEE_PORT", "8123")
    monkeypatch.setenv("PELEE_QUEUE_SIZE", "7")
    monkeypatch.setenv("PELEE_MODELS", "pelee-voc, ./other")
    monkeypatch.setenv("PELEE_API_KEYS", f"{KEY},{KEY}2")
    monkeypatch.setenv("PELEE_CORS_ORIGINS", "")
    settings = load_settings(port=9000)
    assert (settings.port, settings.queue_size) == (9000, 7)
    assert settings.models == ("pelee-voc", "./other")
    assert settings.api_keys == (KEY, KEY + "2")
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
    assert settings.redacted().keys() == {field.name for field in fields(ServeSettings)}


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"^--ports: "):
        load_settings(ports=1)


def test_sizes_are_in_bytes_and_pixels() -> None:
    settings = load_settings(max_body_mb=2, max_buffered_mb=64, max_websockets=32, max_megapixels=0.5, decode_threads=3)
    assert (settings.max_body, settings.max_buffered, settings.max_frame) == (2_000_000, 64_000_000, 1_000_000)
    assert (settings.max_pixels, settings.decoders) == (500_000, 3)
    assert load_settings(max_websockets=0).max_frame == load_settings().max_body
