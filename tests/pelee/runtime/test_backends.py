"""Runtimes and export formats from outside: a row of the registry each, and a session or writer."""

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.commands.export import main
from detection.detector import Detector
from pelee.export.graph import Graph
from pelee.runtime.backends import BACKENDS, FORMATS, Backend, ExportFormat
from pelee.runtime.session import RawOutputs, RuntimeOptions
from tests.support.tiny_detector import pictures, save_pictures, save_small
from weights.export_manifest import SUFFIXES
from weights.store import ModelFile


class EmptySession:
    name, parallel, batch = "empty f32 cpu", 1, 1

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size

    def __call__(self, images: np.ndarray) -> RawOutputs:
        return np.zeros((len(images), 1, 20), np.float32), np.zeros((len(images), 1, 4), np.float32)

    def submit(self, images: np.ndarray) -> Future[RawOutputs]:
        future: Future[RawOutputs] = Future()
        future.set_result(self(images))
        return future


def open_empty(_export: object, _build: object, input_size: int, _options: RuntimeOptions) -> EmptySession:
    return EmptySession(input_size)


def test_runtime_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend("empty", "numpy", (), "numpy", f"{__name__}:open_empty", runs_weights=True)
    monkeypatch.setitem(BACKENDS, "empty", backend)
    detector = Detector.load("pelee-voc", runtime="empty")
    assert detector.runtime.name == "empty f32 cpu"
    assert len(detector(np.zeros((40, 40, 3), np.uint8))) == 0


def write_traced(path: Path, graph: Graph, size: int, _metadata: object, calibration: object) -> None:
    assert calibration is None
    torch.jit.save(torch.jit.trace(graph.module, torch.zeros(2, size, size, 3, dtype=torch.uint8)), str(path))


class TracedSession(EmptySession):
    name = "traced f32 cpu"

    def __init__(self, path: Path, input_size: int) -> None:
        super().__init__(input_size)
        self.graph = torch.jit.load(str(path))

    def __call__(self, images: np.ndarray) -> RawOutputs:
        return tuple(output.detach().numpy() for output in self.graph(torch.from_numpy(images)))


def open_traced(export: ModelFile, _build: object, input_size: int, _options: RuntimeOptions) -> TracedSession:
    return TracedSession(export.path, input_size)


@pytest.mark.slow
def test_format_and_runtime_from_outside_are_exported_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pelee-export --format traced` writes the file, verifies it in its runtime, and `Detector` opens it."""
    monkeypatch.setitem(BACKENDS, "traced", Backend("traced", "torch", ("traced",), "torch", f"{__name__}:open_traced"))
    monkeypatch.setitem(FORMATS, "traced", ExportFormat(f"{__name__}:write_traced", ("torch",), int8=False))
    monkeypatch.setitem(SUFFIXES, "traced", ".traced")
    model = save_small(tmp_path / "small")
    (tmp_path / "photos").mkdir()
    save_pictures(tmp_path / "photos", 4)
    arguments = ["--weights", str(model.path.parent), "--format", "traced", "--no-nms"]
    arguments += ["--images", str(tmp_path / "photos"), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0, capsys.readouterr().err
    assert "traced f32 cpu against torch f32 cpu, 4 images" in capsys.readouterr().out
    assert (tmp_path / "out" / "model.traced").is_file()
    detector = Detector.load(tmp_path / "out")
    assert detector.runtime.name == "traced f32 cpu"
    image = pictures(1)[0]
    expected = Detector.load(model.path.parent, runtime="torch", device="cpu")(image, confidence=0.05)
    np.testing.assert_allclose(detector(image, confidence=0.05).xyxy, expected.xyxy, atol=1e-2)
    assert main([*arguments, "--int8", "--calibration", str(tmp_path / "photos")]) == 2
    assert "traced has no int8 here; take onnx or openvino" in capsys.readouterr().err
