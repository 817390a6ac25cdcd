"""Folder of an export: written aside, verified, and swapped in; refused requests."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from data.errors import SettingsError, WeightsError
from pelee.export.exporter import check_request, check_source, export
from pelee.export.graph import Graph
from weights.card import Card
from weights.export_manifest import Export
from weights.store import ModelFile, resolve

CARD = Card("tiny", "classification", "x", ["a", "b"], 8, file="weights.safetensors", sha256="0" * 64)


def graph() -> Graph:
    return Graph(nn.Sequential(nn.Flatten(), nn.Hardtanh(0, 1)), ("values",))


def verify(made: ModelFile) -> dict[str, Any]:
    """The file runs; the report is its output's shape."""
    return {"shape": list(torch.jit.load(str(made.path))(torch.zeros(3, 8, 8, 3)).shape)}


def refuse(_: ModelFile) -> dict[str, Any]:
    raise WeightsError("another model")


def test_folder_holds_model_card_and_report(tmp_path: Path) -> None:
    made = export(ModelFile(CARD, tmp_path / "x"), graph(), tmp_path / "a" / "out", "torchscript", verify)
    assert made.export is not None and made.export.verification == {"shape": [3, 192]}
    assert {path.name for path in (tmp_path / "a" / "out").iterdir()} == {
        "model.torchscript",
        "card.json",
        "export.json",
    }
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]  # nothing left aside
    again = resolve(tmp_path / "a" / "out")
    assert again.card == CARD and again.export == made.export


def test_a_failed_verification_leaves_the_old_export(tmp_path: Path) -> None:
    source, folder = ModelFile(CARD, tmp_path / "x"), tmp_path / "out"
    export(source, graph(), folder, "torchscript", verify)
    before = (folder / "export.json").read_bytes()
    with pytest.raises(WeightsError, match="another model"):
        export(source, graph(), folder, "torchscript", refuse)
    assert (folder / "export.json").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["out"]
    export(source, graph(), folder, "torchscript", lambda made: {"second": True})
    assert json.loads((folder / "export.json").read_text())["verification"] == {"second": True}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_requests_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    for form, folder, int8, message in (
        ("onx", tmp_path / "new", False, "unknown format 'onx'"),
        ("torchscript", tmp_path / "new", True, "torchscript has no int8 here; take onnx or openvino"),
        ("onnx", tmp_path / "photo.jpg", False, "is a file, expected a folder"),
        ("onnx", tmp_path, False, "holds other files than an export"),
    ):
        with pytest.raises(SettingsError, match=message):
            check_request(folder, form, int8)


def test_sources_that_cannot_be_exported(tmp_path: Path) -> None:
    source = ModelFile(CARD, tmp_path / "x")
    check_source(source, "classification", [tmp_path / "a.jpg"])
    with pytest.raises(WeightsError, match="a model for classification, expected one for detection"):
        check_source(source, "detection", [tmp_path / "a.jpg"])
    with pytest.raises(SettingsError, match="no images to verify"):
        check_source(source, "classification", [])
    with pytest.raises(SettingsError, match="is an export already"):
        check_source(
            ModelFile(CARD, tmp_path / "x", Export("onnx", "f32", False, 8, "", {"m.onnx": ""})),
            "classification",
            [tmp_path],
        )
