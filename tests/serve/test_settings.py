"""Settings: environment, flags over it, one-line errors, no secret in any text."""

from dataclasses import fields, replace

import pytest

from data.errors import SettingsError
from pelee.runtime.backends import BACKENDS
from serve.settings import ServeSettings, load_settings

KEY = "0123456789abcdef-secret"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in fields(ServeSettings):
        monkeypatch.delenv(f"PELEE_{field.name.upper()}", raising=False)


def test_flags_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
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
        ("runtime", "tensorflow"),
        ("allowed_hosts", "https://pelee.example"),
        ("allowed_hosts", "pelee.example/pelee"),
        ("trusted_proxies", "localhost"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("root_path", "pelee"),
        ("root_path", "/pelee/"),
    ],
)
def test_an_invalid_variable_is_an_error_of_one_line(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PELEE_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"^PELEE_{name.upper()}: ") as caught:
        load_settings()
    assert "\n" not in str(caught.value) and (name != "api_keys" or "short," not in str(caught.value))


def test_an_invalid_flag_is_named_in_the_error() -> None:
    with pytest.raises(SettingsError, match=r"^--max-body-mb: "):
        load_settings(max_body_mb=-1.0)


def test_redacted_settings_hold_no_key() -> None:
    settings = load_settings(api_keys=[KEY])
    assert settings.redacted()["api_keys"] == 1
    assert KEY not in str(settings.redacted()) and KEY not in repr(settings)
    assert settings.redacted().keys() == {field.name for field in fields(ServeSettings)}


def test_the_folder_of_installed_models_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELEE_MODEL_FOLDER", "/srv/models")
    assert load_settings() == ServeSettings()


def test_an_unknown_flag_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"^--ports: "):
        load_settings(ports=1)


def test_sizes_are_in_bytes_and_pixels() -> None:
    settings = load_settings(max_body_mb=2, max_buffered_mb=64, max_websockets=32, max_megapixels=0.5, decode_threads=3)
    assert (settings.max_body, settings.max_buffered, settings.max_frame) == (2_000_000, 64_000_000, 1_000_000)
    assert (settings.max_pixels, settings.decoders) == (500_000, 3)
    assert load_settings(max_websockets=0).max_frame == load_settings().max_body


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_api_keys_that_are_set_and_empty_are_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`PELEE_API_KEYS=$(missing-command)` must not open the service to everybody."""
    monkeypatch.setenv("PELEE_API_KEYS", text)
    with pytest.raises(SettingsError, match=r"^PELEE_API_KEYS: the variable is set and holds no key"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("PELEE_API_KEY", "did you mean 'PELEE_API_KEYS'"),
        ("PELEE_MAX_CONECTIONS", "did you mean 'PELEE_MAX_CONNECTIONS'"),
        ("PELEE_XYZZY", "--help"),
    ],
)
def test_an_unknown_variable_is_an_error_with_the_nearest_name(
    variable: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, KEY)
    with pytest.raises(SettingsError, match=f"unknown variable {variable}; .*{hint}") as caught:
        load_settings()
    assert KEY not in str(caught.value)


def test_the_variables_of_a_kubernetes_service_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PELEE_SERVICE_HOST": "10.0.0.1",
        "PELEE_SERVICE_PORT_HTTP": "80",
        "PELEE_PORT": "tcp://10.0.0.1:80",
        "PELEE_PORT_80_TCP_ADDR": "10.0.0.1",
        "PELEE_WEB_PORT": "tcp://10.0.0.1:80",
    }.items():
        monkeypatch.setenv(name, value)
    assert load_settings().port == 8000


def test_the_settings_of_a_reverse_proxy_are_lists_and_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELEE_ALLOWED_HOSTS", "pelee.example, [::1],*")
    monkeypatch.setenv("PELEE_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8, ::1")
    settings = load_settings(root_path="/a/pelee-1")
    assert settings.allowed_hosts == ("pelee.example", "[::1]", "*")
    assert settings.trusted_proxies == ("127.0.0.1", "10.0.0.0/8", "::1")
    assert settings.root_path == "/a/pelee-1"


def test_the_runtimes_are_those_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("auto", *BACKENDS):
        assert load_settings(runtime=name).runtime == name
    monkeypatch.setitem(BACKENDS, "example", replace(BACKENDS["torch"], name="example"))
    assert load_settings(runtime="example").runtime == "example"
