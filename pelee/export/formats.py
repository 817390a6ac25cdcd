"""Writers of the export formats: ONNX, OpenVINO IR, TorchScript."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pelee.export.calibration import Calibration
from pelee.export.graph import INPUT, OPSET, Graph
from pelee.export.quantization import onnx_kept, openvino_kept, quantize

if TYPE_CHECKING:
    import onnx


def write_onnx(path: Path, graph: Graph, size: int, metadata: dict[str, str], calibration: Calibration | None) -> None:
    """Write an ONNX file; its tail is appended after quantization and stays f32."""
    import onnx

    model = _to_onnx(graph.module, size, graph.outputs, graph.input_type)
    if calibration is not None:
        model = quantize(model, onnx_kept(model), calibration)
    if graph.onnx_tail is not None:
        model = graph.onnx_tail(model)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_openvino(
    path: Path, graph: Graph, size: int, metadata: dict[str, str], calibration: Calibration | None
) -> None:
    """Write OpenVINO IR, converted from the ONNX graph."""
    model = _to_onnx(graph.module, size, graph.outputs, graph.input_type)
    if graph.onnx_tail is not None:
        model = graph.onnx_tail(model)
    from pelee.runtime.openvino_session import import_openvino, open_core

    openvino = import_openvino()
    network = open_core().read_model(io.BytesIO(model.SerializeToString()))
    for output, name in zip(network.outputs, (output.name for output in model.graph.output), strict=True):
        output.tensor.set_names({name})
    if calibration is not None:
        network = quantize(network, openvino_kept(network), calibration)
    for key, value in metadata.items():
        network.set_rt_info(value, ["pelee", key])
    # The name and form by which OpenVINO's own tools look for class names.
    labels = " ".join(name.replace(" ", "_") for name in json.loads(metadata["class_names"]))
    network.set_rt_info(labels, ["model_info", "labels"])
    openvino.save_model(network, path, compress_to_fp16=False)


def _to_onnx(module: nn.Module, size: int, outputs: Sequence[str], input_type: torch.dtype) -> "onnx.ModelProto":
    """Return the graph with a dynamic batch, without the exporter's metadata, which contains paths of the machine."""
    import onnx

    program = torch.onnx.export(
        module,
        (_example(size, input_type),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=[INPUT],
        output_names=list(outputs),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    for noted in (
        model.graph,
        *(part for parts in (model.graph.node, model.graph.input, model.graph.output) for part in parts),
        *(part for parts in (model.graph.value_info, model.graph.initializer) for part in parts),
    ):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    del model.graph.value_info[:]  # readers infer it again
    model.graph.name = "pelee"
    return model


def write_torchscript(
    path: Path, graph: Graph, size: int, metadata: dict[str, str], calibration: Calibration | None
) -> None:
    """Write a traced graph and its scripted tail; there is no int8."""
    assert calibration is None
    traced = torch.jit.trace(graph.module, _example(size, graph.input_type), check_trace=False)
    if graph.scripted_tail is not None:
        traced = torch.jit.script(_Chain(traced, torch.jit.script(graph.scripted_tail)))
    torch.jit.save(traced, str(path), _extra_files=metadata)


class _Chain(nn.Module):
    """Module that runs a traced graph of two outputs, then its scripted tail."""

    def __init__(self, graph: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.graph = graph
        self.tail = tail

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second = self.graph(images)
        return self.tail(first, second)


def _example(size: int, input_type: torch.dtype) -> Tensor:
    return torch.zeros(2, size, size, 3, dtype=input_type)  # batch 2: the exporter specializes a batch of 1
