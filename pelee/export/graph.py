"""Graph to export: a module, its inputs and outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    import onnx

    Tail = Callable[[onnx.ModelProto], onnx.ModelProto]

OPSET = 20  # of ONNX: the exporter's own
INPUT = "images"


@dataclass(frozen=True)
class Graph:
    """Graph to export: a module and the operations appended to it.

    Attributes:
        module: (N, S, S, 3) of `input_type` -> a tensor or several, each with N first; batch norms are fused in place.
        outputs: names of the outputs.
        onnx_tail: appends operations that tracing cannot express to the ONNX graph.
        scripted_tail: the same for TorchScript: takes two outputs, returns three.
        nms: whether the tail contains NMS.
        settings: settings of the tail.
        input_type: type of the images, float32 where their preprocessing rounds nothing.
    """

    module: nn.Module
    outputs: Sequence[str]
    onnx_tail: "Tail | None" = None
    scripted_tail: nn.Module | None = None
    nms: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    input_type: torch.dtype = torch.uint8
