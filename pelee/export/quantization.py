"""Int8 post-training quantization with NNCF."""

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from pelee.export.calibration import Calibration
from pelee.export.graph import INPUT

if TYPE_CHECKING:
    import onnx


def quantize(model: Any, kept: list[str], calibration: Calibration) -> Any:
    """Quantize a graph to int8 after training (NNCF), except the nodes `kept`.

    Scores, coordinates and the last layers stay f32: with int8 heads, 2 % of the multiply-adds, pelee-voc lost 0.7
    points of mAP on a thousand images; with f32 heads 0.0.
    """
    from pelee.runtime.openvino_session import import_openvino

    import_openvino()  # before nncf does, so that nothing is reported home
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # where a progress bar belongs
        return nncf.quantize(
            model,
            nncf.Dataset([{INPUT: image[None]} for image in calibration.images]),
            subset_size=len(calibration.images),
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                disable_bias_correction=True,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
            ignored_scope=nncf.IgnoredScope(names=kept),
        )


def openvino_kept(network: Any) -> list[str]:
    """Return the nodes that stay f32, by name: the last convolutions and matrix products, and all nodes after them."""
    kept: list[str] = []
    inner: set[str] = set()  # nodes that lead to a weight, and those with one
    for node in reversed(network.get_ordered_ops()):
        name, kind = node.get_friendly_name(), node.get_type_name()
        followers = {target.get_node().get_friendly_name() for o in node.outputs() for target in o.get_target_inputs()}
        is_last = inner.isdisjoint(followers)
        if not is_last or kind in ("Convolution", "GroupConvolution", "MatMul"):
            inner.add(name)
        if is_last and kind not in ("Constant", "Parameter", "Result"):
            kept.append(name)
    return kept


def onnx_kept(model: "onnx.ModelProto") -> list[str]:
    """Same as `openvino_kept` for ONNX, which lists nodes in their order."""
    kept: list[str] = []
    inner: set[str] = set()  # tensors that lead to a weight
    for node in reversed(model.graph.node):
        is_last = inner.isdisjoint(node.output)
        if not is_last or node.op_type in ("Conv", "MatMul", "Gemm"):
            inner.update(node.input)
        if is_last and node.op_type != "Constant":
            kept.append(node.name)
    return kept
