"""Writers of the export formats on a graph of one convolution: outputs, dynamic batch, metadata."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pelee.export.formats import write_onnx, write_openvino, write_torchscript
from pelee.export.graph import Graph
from pelee.runtime.openvino_session import open_core

SIZE = 8
METADATA = {"class_names": json.dumps(["traffic light", "cat"]), "nms": "false"}


class MeanGraph(nn.Module):
    """(N, S, S, 3) uint8 -> (N, 2): a 1×1 convolution of ones and twos, and the mean over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        nn.init.ones_(self.conv.weight)
        self.conv.weight.data[1] *= 2

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.conv(images.permute(0, 3, 1, 2).float()).mean((2, 3)),)


@pytest.fixture
def graph() -> Graph:
    return Graph(MeanGraph().eval(), ("means",))


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def expected(batch: np.ndarray) -> np.ndarray:
    means = batch.astype(np.float32).sum(3).mean((1, 2))
    return np.stack([means, 2 * means], 1)


def test_torchscript(graph: Graph, tmp_path: Path) -> None:
    write_torchscript(tmp_path / "model.pt", graph, SIZE, METADATA, None)
    extra = dict.fromkeys(METADATA, "")
    loaded = torch.jit.load(str(tmp_path / "model.pt"), _extra_files=extra)
    assert {key: bytes(value).decode() for key, value in extra.items()} == METADATA  # type: ignore[call-overload]
    for count in (1, 3):
        (means,) = loaded(torch.from_numpy(images(count)))
        np.testing.assert_allclose(means.detach().numpy(), expected(images(count)), rtol=1e-5)


@pytest.mark.slow
def test_onnx(graph: Graph, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    write_onnx(tmp_path / "model.onnx", graph, SIZE, METADATA, None)
    model = onnx.load(tmp_path / "model.onnx")
    assert {item.key: item.value for item in model.metadata_props} == METADATA
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (means,) = session.run(["means"], {"images": images(count)})
        np.testing.assert_allclose(means, expected(images(count)), rtol=1e-5)


@pytest.mark.slow
def test_openvino(graph: Graph, tmp_path: Path) -> None:
    write_openvino(tmp_path / "model.xml", graph, SIZE, METADATA, None)
    network = open_core().read_model(tmp_path / "model.xml")
    assert network.get_rt_info(["pelee", "nms"]).value == "false"
    assert network.get_rt_info(["model_info", "labels"]).value == "traffic_light cat"
    compiled = open_core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 3):
        np.testing.assert_allclose(compiled([images(count)])["means"], expected(images(count)), rtol=1e-5)


@pytest.mark.slow
def test_float_images_are_not_rounded(graph: Graph, tmp_path: Path) -> None:
    """Models whose preprocessing gives floating-point pixels have an input of that type in every format."""
    import onnxruntime

    graph = dataclasses.replace(graph, input_type=torch.float32)
    batch = images(2).astype(np.float32) + np.float32(0.25)
    write_onnx(tmp_path / "model.onnx", graph, SIZE, METADATA, None)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["means"], {"images": batch})[0], expected(batch), rtol=1e-5)
    write_openvino(tmp_path / "model.xml", graph, SIZE, METADATA, None)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = open_core().compile_model(tmp_path / "model.xml", "CPU", settings)
    np.testing.assert_allclose(compiled([batch])["means"], expected(batch), rtol=1e-5)
