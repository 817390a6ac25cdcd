"""Options of the training commands: `--help` in a light installation, which has neither torch nor pydantic nor YAML."""

import subprocess
import sys
from importlib.resources import files

import pytest

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
