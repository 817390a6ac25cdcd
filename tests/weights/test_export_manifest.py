"""Export folders: what describes them, how they are found, and what is refused."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from data.errors import WeightsError
from weights.card import Card
from weights.export_manifest import EXPORT_NAME, FORMAT_VERSION, Export
from weights.model_folders import shipped
from weights.store import ModelFile, find_exports, load_tensors, resolve, save_model, verify_export


@pytest.fixture
def source(tmp_path: Path) -> ModelFile:
    return save_model(
        tmp_path / "source", {"weight": np.ones((2, 2), np.float32)}, Card("m", "detection", "x", ["a"], 64)
    )


def make_export(folder: Path, source: ModelFile, **changes: object) -> Path:
    folder.mkdir(parents=True)
    files = {"model.xml": b"<net/>", "model.bin": b"\x00\x01"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "card.json").write_text(source.card.to_json())
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    export = Export("openvino", "int8", False, 64, source.card.sha256, hashes)
    values = dataclasses.asdict(export) | changes
    (folder / EXPORT_NAME).write_text(json.dumps(values))
    return folder


def test_an_export_is_found_by_its_folder_and_files(tmp_path: Path, source: ModelFile) -> None:
    folder = make_export(tmp_path / "export", source)
    for path in (folder, folder / "model.xml", folder / "card.json", folder / EXPORT_NAME):
        model = resolve(path)
        assert model.path == folder / "model.xml" and model.card == source.card
        assert model.export is not None and model.export.precision == "int8"
        assert verify_export(model) is model.export
    with pytest.raises(WeightsError, match=r"is an export, expected the weights"):
        load_tensors(resolve(folder))
    with pytest.raises(WeightsError, match=r"is no export"):
        verify_export(source)


def test_export_writes_what_it_reads(tmp_path: Path, source: ModelFile) -> None:
    folder = make_export(tmp_path / "export", source, settings={"calibration": {"pictures": 3}})
    export = Export.load(folder)
    (folder / EXPORT_NAME).write_text(export.to_json())
    assert Export.load(folder) == export


def test_exports_of_other_weights_do_not_count(tmp_path: Path, source: ModelFile) -> None:
    make_export(source.path.parent / "openvino-int8", source)
    make_export(source.path.parent / "a-stale-one", source, source_sha256="0" * 64)
    assert [model.path.parent.name for model in find_exports(source)] == ["openvino-int8"]
    again = save_model(source.path.parent, {"weight": np.zeros((2, 2), np.float32)}, source.card)
    assert find_exports(again) == []


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_a_damaged_or_missing_file(tmp_path: Path, source: ModelFile, name: str) -> None:
    folder = make_export(tmp_path / "export", source)
    (folder / name).write_bytes(b"other")
    with pytest.raises(WeightsError, match=rf"{name}: SHA-256 is .* expected .* export the model again"):
        verify_export(resolve(folder))
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=rf"{name}: no such file, expected a part of the export"):
        verify_export(resolve(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format_version": FORMAT_VERSION + 1, "new": 1},
            f"'format_version' is 2, this program reads {FORMAT_VERSION}",
        ),
        ({"format": "tflite"}, "'format' is 'tflite', expected one of onnx, openvino, torchscript"),
        ({"precision": "f64"}, "'precision' is 'f64'"),
        ({"nms": "no"}, "'nms' is 'no', expected a bool"),
        ({"files": {"../model.xml": ""}}, "expected names in this folder"),
        ({"files": {}}, "first a .xml"),
        ({"files": {"model.onnx": ""}}, "first a .xml"),
        ({"input_size": 96}, "exported for an input of 96 pixels, its card says 64"),
        ({"extra": 1}, "unknown or missing fields: extra"),
    ],
)
def test_descriptions_that_do_not_fit(tmp_path: Path, source: ModelFile, changes: dict, message: str) -> None:
    folder = make_export(tmp_path / "export", source, **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        resolve(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_description_that_is_no_json(tmp_path: Path, source: ModelFile) -> None:
    folder = make_export(tmp_path / "export", source)
    for text, message in (("{", "is not valid JSON"), ("[]", "holds no JSON object")):
        (folder / EXPORT_NAME).write_text(text)
        with pytest.raises(WeightsError, match=message):
            resolve(folder)


def test_a_model_file_alone(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(
        WeightsError, match=r"has no export\.json next to it, expected the folder that pelee-export wrote"
    ):
        resolve(tmp_path / "model.onnx")


def test_shipped_exports_are_whole_and_made_from_the_shipped_weights() -> None:
    for name in shipped():
        model = resolve(name)
        described = sorted(path.parent for path in model.path.parent.glob(f"*/{EXPORT_NAME}"))
        assert [found.path.parent for found in find_exports(model)] == described
        for found in find_exports(model):
            verify_export(found)
