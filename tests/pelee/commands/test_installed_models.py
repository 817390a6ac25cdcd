import json
from pathlib import Path

import pytest

from detection.commands.models import main
from tests.support.small_model import card, tensors
from weights.store import ModelFile, save_model


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PELEE_MODEL_FOLDER", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return save_model(tmp_path / "run" / "model", tensors(), card())


def test_a_model_is_added_listed_shown_and_removed(
    model: ModelFile, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["add", str(model.path.parent), "--name", "cats"]) == 0
    assert capsys.readouterr().out == f"cats is installed in {folder / 'cats'}\n"
    assert main(["--installed"]) == 0
    assert capsys.readouterr().out == f"cats: detection, 1 classes, 304 px, in {folder / 'cats'}\n"
    assert main(["--installed", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model": "cats",
        "task": "detection",
        "folder": str(folder / "cats"),
        "classes": 1,
        "input_size": 304,
    }
    assert main(["show", "cats"]) == 0
    path, _, shown = capsys.readouterr().out.partition("\n")
    assert path == str(folder / "cats" / model.path.name) and json.loads(shown)["sha256"] == model.card.sha256
    assert main(["remove", "cats"]) == 0
    assert capsys.readouterr().out == f"cats is removed from {folder}\n"
    assert main(["--installed"]) == 0
    assert "no models are installed" in capsys.readouterr().out


def test_exports_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "pelee-voc"]) == 0
    assert "openvino int8, 304 px" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["add", "nothing"], ["remove", "nothing"], ["show", "nothing"]])
def test_unknown_models_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_name_that_is_taken_needs_replace(model: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["add", str(model.path.parent)]
    assert [main(words), main(words), main([*words, "--replace"])] == [0, 2, 0]
    assert "or --replace" in capsys.readouterr().err
