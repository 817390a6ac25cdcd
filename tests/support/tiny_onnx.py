"""An ONNX model of one node."""

import hashlib
from pathlib import Path

from onnx import TensorProto, helper

from weights.card import Card
from weights.export_manifest import Export
from weights.store import ModelFile

SIZE = 8


def save_onnx(folder: Path, size: int = SIZE, content: bytes | None = None) -> ModelFile:
    """A model that converts its images to float32; or a file with any content."""
    value = helper.make_tensor_value_info
    node = helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT)
    ends = [value("images", TensorProto.UINT8, ["N", size, size, 3]), value("values", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "cast", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content = content or model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    files = {"model.onnx": hashlib.sha256(content).hexdigest()}
    export = Export("onnx", "f32", False, SIZE, "", files)
    return ModelFile(Card("m", "detection", "x", ["a"], SIZE), folder / "model.onnx", export)
