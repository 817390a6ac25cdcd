import json
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from pelee.commands import pelee as command
from tests.support.documentation import PROJECT

POINTS = [metadata.EntryPoint(name, target, "console_scripts") for name, target in PROJECT["scripts"].items()]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """The commands of pyproject.toml, also where the installation is older."""
    found = SimpleNamespace(entry_points=metadata.EntryPoints(POINTS), version=metadata.version("pelee"))
    monkeypatch.setattr(metadata, "distribution", lambda name: found)


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_every_command_with_its_purpose(words, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name in set(PROJECT["scripts"]) - {"pelee"}:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert len(line.split()) > 3, line
    assert any(line.strip().startswith("doctor ") for line in lines)


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pelee {metadata.version('pelee')}\n"


def test_a_command_by_its_short_name(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pelee", "runs", "/nonexistent"])
    assert command.main() == 2
    assert "/nonexistent" in capsys.readouterr().err
    assert sys.argv == ["pelee-runs", "/nonexistent"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["detcet", "cat.jpg"], "no command 'detcet'; did you mean 'detect'?"),
        (["pelee-trian"], "no command 'pelee-trian'; did you mean 'train'?"),
        (["docter", "--json"], "no command 'docter'; did you mean 'doctor'?"),
        (["xyz"], "no command 'xyz'; expected one of ablate, batch, "),
        (["--verbose"], "unrecognized arguments: --verbose"),
        (["--"], ""),  # in words of the version of argparse
    ],
)
def test_wrong_words_are_an_error(words, line, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2 and capsys.readouterr().err.splitlines()[-1].startswith(f"pelee: error: {line}")


@pytest.mark.slow
def test_doctor_as_text_and_json(capsys, tmp_path):
    assert command.main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads((tmp_path / "doctor.json").read_text())
    assert len(lines) == len(report) and lines[0].startswith("pelee ")
    assert report["cpu"]["usable_cores"] >= 1
    assert command.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == report.keys()
