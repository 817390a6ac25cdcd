"""Which runtime opens a model: by what lies with it, what is asked for, and what is installed. Nothing is run."""

import importlib.util
from pathlib import Path

import pytest
from torch import nn

import pelee.runtime.selection
from data.errors import SettingsError
from pelee.runtime.selection import open_session
from pelee.runtime.session import RuntimeOptions
from weights.card import Card
from weights.export_manifest import SUFFIXES, Export
from weights.store import ModelFile

CARD = Card("m", "detection", "x", ["a"], 64)


def export(form: str, precision: str = "f32") -> ModelFile:
    name = f"model{SUFFIXES[form]}"
    return ModelFile(CARD, Path(form) / name, Export(form, precision, False, 64, "", {name: ""}))


def choose(
    monkeypatch: pytest.MonkeyPatch,
    *exports: ModelFile,
    installed: str = "torch openvino onnxruntime",
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    named: bool = False,
    cuda: bool = False,
) -> str:
    """The choice as words: runtime, format and precision of what it opens."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in installed.split() else None)
    monkeypatch.setattr(pelee.runtime.selection, "find_exports", lambda model: list(exports))
    monkeypatch.setattr(pelee.runtime.selection, "_wants_cuda", lambda name: cuda or name.startswith("cuda"))
    model = exports[0] if named else ModelFile(CARD, Path("model.safetensors"))
    backend, chosen = pelee.runtime.selection.select_candidate(model, runtime, device, precision)
    name = backend.name
    if chosen is None or chosen.export is None:
        return f"{name} weights"
    return f"{name} {chosen.export.format} {chosen.export.precision}"


def build_nothing() -> nn.Module:
    raise AssertionError("no graph is built here")


OPENVINO, INT8, ONNX, SCRIPT = export("openvino"), export("openvino", "int8"), export("onnx"), export("torchscript")


def test_auto_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, OPENVINO, INT8, ONNX) == "openvino openvino int8"
    assert choose(monkeypatch, OPENVINO, ONNX) == "openvino openvino f32"
    assert choose(monkeypatch, ONNX) == "onnxruntime onnx f32"
    assert choose(monkeypatch, ONNX, installed="openvino") == "openvino onnx f32"
    assert choose(monkeypatch, INT8, ONNX, installed="torch onnxruntime") == "onnxruntime onnx f32"
    assert choose(monkeypatch) == "torch weights"
    assert choose(monkeypatch, INT8, installed="torch") == "torch weights"


def test_auto_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, OPENVINO, INT8, cuda=True) == "torch weights"
    assert choose(monkeypatch, INT8, device="cuda") == "torch weights"
    assert choose(monkeypatch, INT8, cuda=True, precision="int8") == "openvino openvino int8"


def test_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = (INT8, OPENVINO, ONNX)
    assert choose(monkeypatch, *everything, precision="f32") == "openvino openvino f32"
    assert choose(monkeypatch, *everything, precision="bf16") == "openvino openvino f32"
    assert choose(monkeypatch, INT8, precision="bf16") == "torch weights"
    assert choose(monkeypatch, *everything, runtime="onnxruntime") == "onnxruntime onnx f32"
    assert choose(monkeypatch, *everything, runtime="torch") == "torch weights"
    assert choose(monkeypatch, ONNX, runtime="openvino") == "openvino onnx f32"


def test_a_named_export(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, OPENVINO, INT8, named=True, cuda=True) == "openvino openvino f32"
    assert choose(monkeypatch, ONNX, INT8, named=True) == "onnxruntime onnx f32"
    assert choose(monkeypatch, ONNX, named=True, runtime="openvino") == "openvino onnx f32"
    assert choose(monkeypatch, SCRIPT, named=True) == "torch torchscript f32"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exports", "arguments", "message"),
    [
        ([INT8], {"runtime": "onnxruntime"}, r"no export for onnxruntime .*\(found: openvino int8\).*--format onnx"),
        (
            [],
            {"precision": "int8"},
            r"no export for int8 .*\(found: none\).*--format openvino --int8 --calibration DIR",
        ),
        ([INT8], {"runtime": "openvino", "precision": "f32"}, "no export for openvino f32"),
        ([], {"runtime": "torch", "precision": "int8"}, "torch runs no int8 here"),
        ([ONNX], {"runtime": "torch", "named": True}, "a model for onnx in f32, not for torch"),
        ([INT8], {"precision": "f32", "named": True}, "a model for openvino in int8, not for f32"),
    ],
)
def test_what_is_not_there(monkeypatch: pytest.MonkeyPatch, exports: list, arguments: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        choose(monkeypatch, *exports, **arguments)


@pytest.mark.parametrize(
    ("installed", "runtime", "message"),
    [
        ("openvino", "torch", r"torch is not installed.*pelee\[train\]"),
        ("torch", "onnxruntime", r"onnxruntime is not installed.*pelee\[onnxruntime\]"),
        ("", "auto", r"openvino is not installed"),
    ],
)
def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, installed: str, runtime: str, message: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in installed.split() else None)
    monkeypatch.setattr(pelee.runtime.selection, "find_exports", lambda model: [OPENVINO, ONNX])
    with pytest.raises(SettingsError, match=message):
        open_session(ModelFile(CARD, Path("m.safetensors")), lambda: None, RuntimeOptions(runtime=runtime))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("name", ["runtime", "precision", "mode"])
def test_words_that_mean_nothing(name: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown {name} 'quick', expected one of"):
        open_session(ModelFile(CARD, Path("m")), lambda: None, RuntimeOptions(**{name: "quick"}))  # type: ignore[arg-type, return-value]


def test_compile_is_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pelee.runtime.selection, "find_exports", lambda model: [OPENVINO])
    with pytest.raises(SettingsError, match="compile is for the torch runtime"):
        open_session(ModelFile(CARD, Path("m")), lambda: None, RuntimeOptions(compile=True, device="cpu"))  # type: ignore[arg-type, return-value]
