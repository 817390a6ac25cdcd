"""pelee-serve: flags from the settings, `--help`."""

import subprocess
import sys
from dataclasses import fields

import pytest

from serve.commands.serve import build_parser, main, parse_flags
from serve.settings import ServeSettings, load_settings
from tests.support.paths import ROOT


def test_every_setting_but_the_keys_has_a_flag_whose_help_shows_the_default() -> None:
    text = " ".join(build_parser().format_help().replace("tiny-\n", "tiny-").split())
    for field in fields(ServeSettings):
        flag = {"models": "--model"}.get(field.name, f"--{field.name.replace('_', '-')}")
        assert (f"{flag} " in text) == (field.name != "api_keys"), flag
        if field.default not in (None, ()) and field.name != "models":
            described = text.partition("Settings of the service")[2].partition(f"{flag} ")[2]
            assert f"({field.default})" in described, flag
    assert "pelee-voc, peleenet-tiny-" in text


def test_flags_that_are_not_given_leave_their_settings_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_flags([]) == {}
    monkeypatch.setenv("PELEE_PORT", "81")
    assert load_settings(**parse_flags(["--queue-size", "3"])).port == 81


def test_flags_reach_the_settings() -> None:
    words = ["--model=a", "--model=b", "--port=81", "--batch-wait-ms=2.5", "--mode=throughput", "--log-level=debug"]
    words += ["--cors-origins", "https://a.example,https://b.example"]
    words += ["--allowed-hosts", "*"]
    settings = load_settings(**parse_flags(words))
    assert (settings.models, settings.port, settings.batch_wait_ms) == (("a", "b"), 81, 2.5)
    assert (settings.mode, settings.log_level) == ("throughput", "debug")
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.allowed_hosts == ("*",)


@pytest.mark.parametrize("words", [["--port", "x"], ["--queue-size", "0"], ["--log-level", "loud"]])
def test_a_wrong_value_is_one_line_that_names_the_flag(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {words[0]}: ") and err.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\nfrom serve.commands.serve import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(sorted({'torch','fastapi','pydantic','numpy','cv2','uvicorn'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]" and "--model MODEL" in done.stdout and "SIGTERM" in done.stdout
