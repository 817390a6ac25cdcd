"""torchvision's detectors `ssdlite320_mobilenet_v3_large` and `ssd300_vgg16`: a state dict as this project's network.

Source of names and shapes: torchvision.models.detection. The label of torchvision's COCO weights is COCO's category id,
so that 91 outputs are the background, 80 classes and 10 labels without a class. These ten count as background
(`detection.models.ssdlite_mobilenetv3.fold_background`), which keeps the scores of the classes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from data.errors import WeightsError
from data.images.preprocess import FLOAT_WARP
from detection.models.priors import PRIORS_PER_CELL
from detection.models.registry import ARCHITECTURES
from detection.models.ssd_vgg16 import SSD300, VGG_PRIORS, VGG_SECOND_PART, SSD300Config
from detection.models.ssdlite_mobilenetv3 import (
    EXPANSION_LAYER,
    FULL_CHANNELS,
    SSDLite320,
    SSDLite320Config,
    TorchvisionNetwork,
)
from pelee.importing.published_classes import NamedClasses, coco_by_label, name_classes
from pelee.models.layers import Normalize

HEADS = "head.classification_head.module_list."
SSDLITE_BIAS, SSD_BIAS = f"{HEADS}0.1.bias", f"{HEADS}0.bias"
LAST_NORM = "backbone.features.1.3.1.weight"  # of MobileNetV3's last map
#: Post-processing of torchvision's models, as on a card: `weights.card.Card.suppression`.
SSDLITE_SUPPRESSION = {"score": 0.001, "iou": 0.55, "candidates": 300, "keep": 300}
SSD_SUPPRESSION = {"score": 0.01, "iou": 0.45, "candidates": 400, "keep": 200}


class TorchvisionDetector(NamedTuple):
    """A network with torchvision's weights, in eval mode, its classes, and its post-processing as on a card."""

    network: TorchvisionNetwork
    classes: NamedClasses
    suppression: dict[str, Any]


def holds_detector(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the head of one of torchvision's two detectors."""
    return SSDLITE_BIAS in state or SSD_BIAS in state


def torchvision_detector(
    state: Mapping[str, Tensor], path: Path, class_file: Path | None = None, input_size: int | None = None
) -> TorchvisionDetector:
    """Network of a state dict of torchvision's; `path` is for the messages.

    Args:
        state: tensors by torchvision's names.
        path: the file.
        class_file: class names, one per line in the order of the labels; by default those of `name_classes`, and of
            COCO's categories for 91 outputs.
        input_size: must be the published one, if given: priors and maps of others are not torchvision's.

    Raises:
        WeightsError: another network, or one that is incomplete.
        SettingsError: classes without names.
    """
    is_ssdlite = SSDLITE_BIAS in state
    architecture = "ssdlite320-mobilenetv3" if is_ssdlite else "ssd300-vgg16"
    size = ARCHITECTURES[architecture].input_size
    if input_size not in (None, size):
        raise WeightsError(f"{path}: torchvision's {architecture} has an input of {size} pixels, not {input_size}")
    bias, priors = (SSDLITE_BIAS, PRIORS_PER_CELL) if is_ssdlite else (SSD_BIAS, VGG_PRIORS[0])
    outputs, rest = divmod(state[bias].numel(), priors)
    if rest or outputs < 2 or state[bias].ndim != 1:
        shown = "×".join(map(str, state[bias].shape))
        raise WeightsError(f"{path}: tensor {bias} has the shape {shown}, expected {priors} × (classes + 1)")
    order, classes = _labels(outputs, class_file)
    background = outputs - len(classes.names)
    network: TorchvisionNetwork
    if is_ssdlite:
        reduced = len(state.get(LAST_NORM, ())) != FULL_CHANNELS
        network = SSDLite320(SSDLite320Config(len(classes.names), background_outputs=background, reduced_tail=reduced))
    else:
        network = SSD300(SSD300Config(len(classes.names), background_outputs=background))
    _fill(network, state, path, outputs, order)
    return TorchvisionDetector(network.eval(), classes, dict(SSDLITE_SUPPRESSION if is_ssdlite else SSD_SUPPRESSION))


def torchvision_preprocessing(network: TorchvisionNetwork) -> dict[str, Any]:
    """A card's `preprocessing`: torchvision resizes floating-point images, and rounds nothing."""
    normalize = network.backbone.normalize
    assert isinstance(normalize, Normalize)
    mean, std = normalize.settings["mean"], normalize.settings["std"]
    return {
        "colour_order": "RGB",
        "resize": FLOAT_WARP,
        "mean": [round(value, 6) for value in mean],
        "scale": [1 / value for value in std],
    }


def _labels(outputs: int, class_file: Path | None) -> tuple[list[int], NamedClasses]:
    """Labels in the order of this project's network, those of the background first, and the class names."""
    by_label = coco_by_label()
    if outputs != len(by_label) or class_file is not None:
        return list(range(outputs)), name_classes(outputs - 1, class_file)
    used = [label for label, name in enumerate(by_label) if name is not None]
    unused = [label for label, name in enumerate(by_label) if name is None]
    names = [name for name in by_label if name is not None]
    return unused + used, NamedClasses(names, f"COCO's names; {len(unused) - 1} labels without a class are background")


def _fill(network: TorchvisionNetwork, state: Mapping[str, Tensor], path: Path, outputs: int, order: list[int]) -> None:
    """Load all tensors, with the rows of each prior's classes in this order of labels."""
    tensors: dict[str, Tensor] = {}
    known: set[str] = set()
    for own, wanted in network.state_dict().items():
        name = _their_name(own, isinstance(network, SSDLite320))
        known.add(name)
        if name not in state:
            if name.endswith("num_batches_tracked"):
                tensors[own] = wanted
                continue
            raise WeightsError(f"{path}: has no tensor {name}; it is another network or incomplete")
        if state[name].shape != wanted.shape:
            shown, expected = ("×".join(map(str, sides)) for sides in (state[name].shape, wanted.shape))
            raise WeightsError(f"{path}: tensor {name} has the shape {shown}, expected {expected}")
        tensors[own] = state[name].to(wanted.dtype)
        if _is_class_layer(own):
            grouped = tensors[own].unflatten(0, (-1, outputs))
            tensors[own] = grouped[:, torch.tensor(order)].flatten(0, 1)
    if extra := [name for name in state if name not in known]:
        raise WeightsError(f"{path}: has a tensor {extra[0]}, which torchvision's network lacks")
    network.load_state_dict(tensors)


def _is_class_layer(own: str) -> bool:
    """Whether a tensor is of a convolution that gives class logits; in SSDLite's heads a unit comes before it."""
    return re.fullmatch(r"heads\.\d+\.classify\.(1\.)?(weight|bias)", own) is not None


def _their_name(own: str, is_ssdlite: bool) -> str:
    """Name in torchvision's state dict of a tensor of this project's network."""
    first, *parts = own.split(".")
    if first == "heads":
        index, kind, *rest = parts
        return ".".join(["head", f"{HEAD_NAMES[kind]}_head", "module_list", index, *rest])
    if first == "extras":
        index, *rest = parts
        return ".".join(["backbone.extra", index if is_ssdlite else str(int(index) + 1), *rest])
    if parts[0] == "fc":
        return ".".join(["backbone.extra.0", str(FC_INDEX), *parts[1:]])
    if parts[0] != "network":
        return own
    layer, rest = int(parts[2]), parts[3:]
    if not is_ssdlite:
        if layer < VGG_SECOND_PART:
            return ".".join(["backbone.features", str(layer), *rest])
        return ".".join(["backbone.extra.0", str(layer - VGG_SECOND_PART), *rest])
    if layer == EXPANSION_LAYER:
        _block, part, *rest = rest
        place = ["0", str(layer)] if part == "0" else ["1", "0", part]
    else:
        place = ["0", str(layer)] if layer < EXPANSION_LAYER else ["1", str(layer - EXPANSION_LAYER)]
    return ".".join(["backbone.features", *place, *rest])


HEAD_NAMES = {"classify": "classification", "regress": "regression"}
FC_INDEX = 7  # of the convolutions in place of layers 6 and 7, after conv5_3
