"""Nodes that stay f32: the last layers with weights and everything after them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pelee.export.quantization import onnx_kept, openvino_kept
from pelee.runtime.openvino_session import import_openvino


def test_onnx_keeps_the_last_layer_and_what_follows() -> None:
    """Two convolutions, a softmax: the first convolution and its ReLU are quantized."""
    value = helper.make_tensor_value_info
    weights = [numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), name) for name in ("w1", "w2")]
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "last"),
        helper.make_node("Softmax", ["c"], ["scores"], "softmax"),
    ]
    ends = [value(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in ("images", "scores")]
    model = helper.make_model(helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights))
    assert sorted(onnx_kept(model)) == ["last", "softmax"]


def test_openvino_keeps_the_last_layer_of_every_branch() -> None:
    """One convolution, then two heads: both heads and the softmax of one stay f32."""
    ops = import_openvino().opset8
    weights = np.ones((3, 3, 1, 1), np.float32)

    def convolution(source: object, name: str) -> object:
        return ops.convolution(source, ops.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1], name=name)

    images = ops.parameter([1, 3, 4, 4], np.float32, name="images")
    stem = ops.relu(convolution(images, "stem"), name="relu")
    first = ops.softmax(convolution(stem, "scores"), axis=1, name="softmax")
    second = convolution(stem, "boxes")
    model = import_openvino().Model([first, second], [images])
    assert sorted(openvino_kept(model)) == ["boxes", "scores", "softmax"]
