"""Options of the training commands: `--help` in a light installation, which has neither torch nor pydantic nor YAML."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

from detection.commands import train
from pelee.commands import train_classifier

LIGHT = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pytorch_lightning", "pydantic", "pydantic_core", "yaml"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
importlib.import_module(sys.argv[1]).main(["--help"])
"""


def light_help(module: str) -> str:
    run = subprocess.run([sys.executable, "-c", LIGHT, module], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return " ".join(run.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "folder"),
    [
        ("detection.commands.train", "detection.training/recipes"),
        ("pelee.commands.train_classifier", "pelee.classification.training/recipes"),
        ("detection.commands.ablate", "detection.ablation/experiments"),
    ],
)
def test_help_of_a_light_installation_names_every_recipe(module: str, folder: str) -> None:
    package, _, name = folder.partition("/")
    names = [entry.name for entry in (files(package) / name).iterdir()]
    shipped = sorted(file.removesuffix(".yaml") for file in names if file.endswith(".yaml"))
    assert f"a shipped {'study' if name == 'experiments' else 'recipe'} ({', '.join(shipped)})" in light_help(module)


def test_help_works_in_a_light_installation() -> None:
    assert "usage: " in light_help("pelee.commands.search")


@pytest.mark.parametrize("command", [train, train_classifier])
def test_a_folder_without_a_run_is_named_first(
    command: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--output", str(tmp_path), "--resume"]) == 2
    assert command.main(["--finish", str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"error: nothing to resume: {tmp_path / 'last.ckpt'} does not exist"
    assert second == f"error: nothing to finish: {tmp_path} holds neither best.ckpt nor last.ckpt"
