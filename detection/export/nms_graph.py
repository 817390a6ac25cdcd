"""NMS as part of an exported graph, as in `detection.inference.nms`, in ONNX operators and in TorchScript.

Both take scores (N, P, C) and boxes (N, P, 4) xyxy relative to the input, and return the K best detections of an image,
best first: boxes (N, K, 4) float32 relative to the input, clipped to 0 to 1; scores (N, K) float32; classes (N, K)
int64, 0-based. Where fewer were found, classes are -1, and scores and boxes 0. K is at most `max_detections`.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from detection.inference.options import DetectionOptions

if TYPE_CHECKING:
    import onnx


OUTPUTS = ("boxes", "scores", "classes")
DEFAULTS = DetectionOptions()
PREFIX = "suppression/"
# N is the batch and stays free, P priors, C classes. k candidates of each class enter, K detections are kept.
ONNX_TEXT = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
suppression (float[N, {P}, {C}] scores, float[N, {P}, 4] boxes)
    => (float[N, {K}, 4] kept_boxes, float[N, {K}] kept_scores, int64[N, {K}] kept_classes)
<float zero = {{0}}, float one = {{1}}, float iou = {{{iou}}}, float confidence = {{{confidence}}},
 int64[1] two = {{2}}, int64[1] begin = {{0}}, int64[1] end = {{4}}, int64[1] last = {{2}}, int64[1] k = {{{k}}},
 int64[1] K = {{{K}}}, int64 per_class = {{{k}}}, int64 nothing = {{-1}}, int64[1] minus_one = {{-1}},
 int64[3] flat_shape = {{0, {Ck}, 1}}, int64[3] box_shape = {{-1, {k}, 4}}, int64[3] score_shape = {{-1, 1, {k}}},
 int64[2] image_shape = {{-1, {Ck}}}>
{{
  clipped = Clip (boxes, zero, one)
  low = Slice (clipped, begin, two, last)
  high = Slice (clipped, two, end, last)
  sides = Sub (high, low)
  shortest = ReduceMin <keepdims = 1> (sides, last)
  inside = Greater (shortest, zero)
  seen = Where (inside, scores, zero)
  by_class = Transpose <perm = [0, 2, 1]> (seen)
  top, index = TopK (by_class, k)
  flat_index = Reshape (index, flat_shape)
  candidates = GatherND <batch_dims = 1> (clipped, flat_index)
  class_boxes = Reshape (candidates, box_shape)
  class_scores = Reshape (top, score_shape)
  selected = NonMaxSuppression (class_boxes, class_scores, per_class, iou, confidence)
  picked = GatherND (class_scores, selected)
  no_scores = Mul (class_scores, zero)
  alive = ScatterND (no_scores, selected, picked)
  by_image = Reshape (alive, image_shape)
  kept_scores, place = TopK (by_image, K)
  found = Greater (kept_scores, zero)
  label = Div (place, per_class)
  kept_classes = Where (found, label, nothing)
  place_index = Unsqueeze (place, minus_one)
  best_boxes = GatherND <batch_dims = 1> (candidates, place_index)
  found_column = Unsqueeze (found, minus_one)
  kept_boxes = Where (found_column, best_boxes, zero)
}}
"""


def suppression_settings(options: DetectionOptions) -> dict[str, Any]:
    """Settings of the NMS, as in an export's manifest."""
    return {
        "confidence": options.confidence,
        "iou": options.iou,
        "candidates": options.candidates,
        "keep": options.max_detections,
    }


def append_nms(model: "onnx.ModelProto", options: DetectionOptions = DEFAULTS) -> "onnx.ModelProto":
    """Return a detector's ONNX graph with NMS behind it; its outputs become `OUTPUTS`.

    `options` have one score threshold for all classes.
    """
    import onnx

    scores = next(output for output in model.graph.output if output.name == "scores")
    _, priors, classes = (dim.dim_value for dim in scores.type.tensor_type.shape.dim)
    k = min(options.candidates, priors)
    opset = next(item.version for item in model.opset_import if item.domain == "")
    text = ONNX_TEXT.format(
        ir=model.ir_version, opset=opset, P=priors, C=classes, k=k, Ck=classes * k,
        K=min(options.max_detections, classes * k),
        iou=options.iou, confidence=options.confidence,
    )  # fmt: skip
    tail = onnx.compose.add_prefix(onnx.parser.parse_model(text), PREFIX)
    for number, node in enumerate(tail.graph.node):
        node.name = f"{PREFIX}{node.op_type}_{number}"  # the parser sets no names
    renamed = {f"{PREFIX}kept_{name}": name for name in OUTPUTS}
    # The network's own outputs have the names "scores" and "boxes", too, and are renamed.
    network = onnx.compose.add_prefix(model, "network/", rename_nodes=False, rename_inputs=False)
    whole = onnx.compose.merge_models(
        network, tail, [(f"network/{name}", f"{PREFIX}{name}") for name in ("scores", "boxes")]
    )
    for node in whole.graph.node:
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for output in whole.graph.output:
        output.name = renamed[output.name]
    whole.graph.name = model.graph.name
    return whole


class ScriptedSuppression(nn.Module):
    """The same for `torch.jit.script`, without torchvision: one step suppresses in all classes and images."""

    def __init__(self, options: DetectionOptions = DEFAULTS) -> None:
        """Use the thresholds and numbers of `options`, which have one score threshold for all classes."""
        super().__init__()
        assert not isinstance(options.confidence, tuple)
        self.confidence = float(options.confidence)
        self.iou = float(options.iou)
        self.candidates = options.candidates
        self.keep = options.max_detections

    def forward(self, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes = boxes.clamp(0.0, 1.0)
        inside = (boxes[:, :, 2:] > boxes[:, :, :2]).all(dim=2).unsqueeze(2)  # (N, P, 1)
        scores = torch.where(inside & (scores > self.confidence), scores, 0.0).transpose(1, 2)  # (N, C, P)
        k = min(self.candidates, scores.shape[2])
        top, index = scores.topk(k, dim=2)  # (N, C, k)
        # (N, P, 4) -> (N, C, k, 4)
        classes = scores.shape[1]
        index = index.unsqueeze(3).expand(-1, -1, -1, 4)
        candidates = boxes.unsqueeze(1).expand(-1, classes, -1, -1).gather(2, index)
        low, high = candidates[..., :2], candidates[..., 2:]
        area = (high - low).prod(dim=3)
        alive = top > 0
        place = torch.arange(k, device=scores.device)
        for i in range(int(alive.sum(dim=2).max())):  # as many steps as the fullest class has candidates
            corner = torch.minimum(high, high[:, :, i : i + 1]) - torch.maximum(low, low[:, :, i : i + 1])
            shared = corner.clamp(min=0.0).prod(dim=3)
            overlap = shared / (area + area[:, :, i : i + 1] - shared)
            alive = alive & ~(alive[:, :, i : i + 1] & (overlap > self.iou) & (place > i))
        kept, place = torch.where(alive, top, 0.0).flatten(1).topk(min(self.keep, classes * k), dim=1)  # (N, K)
        found = kept > 0
        best = candidates.flatten(1, 2).gather(1, place.unsqueeze(2).expand(-1, -1, 4))
        labels = torch.where(found, torch.div(place, k, rounding_mode="floor"), -1)
        return torch.where(found.unsqueeze(2), best, 0.0), kept, labels
