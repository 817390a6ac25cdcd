"""torchvision's detectors with random weights of a useful range, without a download."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large

#: Arguments that give the network of the published weights: without pretrained weights, the tail is the reduced one.
SSDLITE = partial(ssdlite320_mobilenet_v3_large, weights=None, weights_backbone=None)
SSD = partial(ssd300_vgg16, weights=None, weights_backbone=None)


def random_model(build: Any, head: float, **settings: Any) -> nn.Module:
    """A model in eval mode, its activations of size 1 and its logits and offsets of size `head`."""
    with torch.device("meta"):
        model: nn.Module = build(**settings)
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("num_batches_tracked"):
                tensor.zero_()
            elif name == "backbone.scale_weight":
                tensor.fill_(20.0).add_(noise)
            elif tensor.ndim == 4:
                fan = tensor[0].numel()
                last = "module_list" in name and name.count(".") != 6
                scale = (head**2 if last else 2.0) / fan
                if name == "backbone.features.0.weight":
                    scale /= 64**2  # VGG-16 takes values up to 150 and has no batch norm
                tensor.copy_(noise * scale**0.5)
            elif name.endswith("running_var"):
                tensor.copy_(noise.abs() + 0.5)
            elif name.endswith("bias") or name.endswith("running_mean"):
                tensor.copy_(0.1 * noise)
            else:
                tensor.copy_(1 + 0.1 * noise)
    return model.eval()


def raw_outputs(model: Any, image: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Scores (P, K) of all labels, boxes (P, 4) xyxy in pixels of the input, and torchvision's detections of an image.

    Args:
        model: a detector of torchvision, in eval mode.
        image: (3, H, W), 0 to 1.
    """
    found: dict[str, Tensor] = {}
    finish = model.postprocess_detections

    def keep(outputs: dict[str, Tensor], anchors: list[Tensor], shapes: Any) -> Any:
        found["scores"] = outputs["cls_logits"][0].softmax(-1)
        found["boxes"] = model.box_coder.decode_single(outputs["bbox_regression"][0], anchors[0])
        return finish(outputs, anchors, shapes)

    model.postprocess_detections = keep
    try:
        with torch.inference_mode():
            (detections,) = model([image])
    finally:
        model.postprocess_detections = finish
    return found["scores"], found["boxes"], detections


def default_boxes(model: Any, size: int, cells: tuple[int, ...]) -> Tensor:
    """torchvision's default boxes, (P, 4) cxcywh relative to the input."""
    boxes: Tensor = model.anchor_generator._grid_default_boxes([[each, each] for each in cells], [size, size])
    return boxes
