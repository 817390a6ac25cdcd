from pathlib import Path

import numpy as np
import pytest

from data.errors import WeightsError
from tests.support.small_model import card, tensors
from weights import installation
from weights.export_manifest import EXPORT_NAME
from weights.installation import install, uninstall
from weights.model_folders import SHIPPED_FOLDER, installed
from weights.store import ModelFile, find_exports, load_tensors, resolve, save_model, verify_export


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PELEE_MODEL_FOLDER", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return save_model(tmp_path / "run" / "model", tensors(), card())


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_installed_model_is_found_by_its_name(model: ModelFile, folder: Path, tmp_path: Path) -> None:
    (model.path.parent / "notes.txt").write_text("no file of the model")
    assert install(model.path.parent) == folder / "toy"
    found = resolve("toy")
    assert found.card == model.card and found.path == folder / "toy" / model.path.name
    np.testing.assert_array_equal(load_tensors(found)["bn.weight"], tensors()["bn.weight"])
    assert set(content(folder)) == {"toy/card.json", f"toy/{model.path.name}"}


def test_exports_come_along_and_stay_verified(folder: Path) -> None:
    install(SHIPPED_FOLDER / "pelee-voc", "mine")
    exports = find_exports(resolve("mine"))
    assert exports and all(path.name != EXPORT_NAME for path in exports[0].path.parent.glob("*.xml"))
    assert verify_export(exports[0]).precision == "int8"


def test_an_export_alone_can_be_installed(folder: Path) -> None:
    (export,) = find_exports(resolve("pelee-voc"))
    install(export.path.parent, "fast")
    assert resolve("fast").export == export.export


def test_a_name_is_replaced_only_on_request(model: ModelFile, folder: Path, tmp_path: Path) -> None:
    install(model.path.parent)
    other = save_model(tmp_path / "other", tensors(1), card())
    before = content(folder)
    with pytest.raises(WeightsError, match="toy is installed already"):
        install(other.path.parent)
    assert content(folder) == before
    install(other.path.parent, replace=True)
    assert resolve("toy").card.sha256 == other.card.sha256 and len(content(folder)) == 2


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "pelee-voc", "a b", "x" * 101])
def test_other_names_are_refused(name: str, model: ModelFile, folder: Path) -> None:
    with pytest.raises(WeightsError, match="--name"):
        install(model.path.parent, name)
    assert not folder.exists()


def test_a_damaged_model_is_not_installed(model: ModelFile, folder: Path) -> None:
    model.path.write_bytes(model.path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="SHA-256"):
        install(model.path.parent)
    assert list(folder.iterdir()) == []


def test_a_failure_while_replacing_keeps_the_old_model(
    model: ModelFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(model.path.parent)
    before = content(folder)

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(installation.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        install(model.path.parent, replace=True)
    assert content(folder) == before


def test_a_removed_model_is_gone(model: ModelFile, folder: Path) -> None:
    install(model.path.parent)
    assert uninstall("toy") == folder / "toy"
    assert installed() == [] and model.path.exists()
    with pytest.raises(WeightsError, match="'toy' is no installed model; installed are: none"):
        uninstall("toy")
    with pytest.raises(WeightsError, match="no installed model"):
        uninstall("pelee-voc")
