from pathlib import Path

import pytest

from tests.support.small_model import card, tensors
from weights.model_folders import SHIPPED_FOLDER, folder_of, installed, installed_folder, shipped
from weights.store import save_model


def test_the_folder_is_that_of_the_variable_or_in_the_users_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELEE_MODEL_FOLDER", str(tmp_path))
    assert installed_folder() == tmp_path
    monkeypatch.delenv("PELEE_MODEL_FOLDER")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert installed_folder() == Path("/data/pelee/models")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert installed_folder() == Path.home() / ".local/share/pelee/models"


def test_installed_models_are_the_complete_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELEE_MODEL_FOLDER", str(tmp_path / "absent"))
    assert installed() == []
    monkeypatch.setenv("PELEE_MODEL_FOLDER", str(tmp_path))
    save_model(tmp_path / "b", tensors(), card())
    save_model(tmp_path / "a", tensors(), card())
    save_model(tmp_path / ".a.temporary", tensors(), card())
    (tmp_path / "empty").mkdir()
    assert installed() == ["a", "b"]
    assert folder_of("a") == tmp_path / "a" and folder_of("empty") is None


def test_a_shipped_model_hides_an_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELEE_MODEL_FOLDER", str(tmp_path))
    save_model(tmp_path / "pelee-voc", tensors(), card())
    assert "pelee-voc" in shipped() and installed() == []
    assert folder_of("pelee-voc") == SHIPPED_FOLDER / "pelee-voc"
