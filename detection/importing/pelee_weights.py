"""The authors' Pelee, a Caffe network, as this project's network of the same results.

Source of names and parameters: github.com/Robert-JunWang/Pelee, `model/voc/deploy_merged.prototxt` and
`feature_extractor.py`; of the field numbers: caffe.proto of Caffe's SSD branch. The feature layers after the backbone
have no batch norm there; the heads give the background first and six priors per cell in the order of
`detection.models.priors.cell_priors`.
"""

import math

import numpy as np
import torch
from torch import nn

from data.errors import SettingsError, WeightsError
from detection.models.pelee import Pelee, PeleeConfig, head_map_sizes
from detection.models.priors import ASPECT_RATIOS, COCO_SIZES, PRIORS_PER_CELL, VOC_SIZES
from detection.models.registry import ARCHITECTURES
from pelee.importing.caffe_weights import CaffeWeights
from pelee.importing.caffemodel import Message, as_bytes, floats, integers, parse
from pelee.importing.peleenet_weights import caffe_features
from pelee.models.layers import ConvUnit
from pelee.models.peleenet import PeleeNet

FIRST_HEAD = "ext/pm1_mbox_conf"
PRIOR_SIZES = {"voc": VOC_SIZES, "coco": COCO_SIZES}
# Fields of LayerParameter, and of the messages in them.
INPUT_PARAMETERS, PRIOR_BOX_PARAMETERS, DETECTION_OUTPUT_PARAMETERS = 143, 203, 204
INPUT_SHAPE, DIMENSIONS = 1, 1
MIN_SIZE, MAX_SIZE, RATIOS, FLIP, CLIP, VARIANCE = 1, 2, 3, 4, 5, 6
IMAGE_SIZES, STEP, STEPS, OFFSET = (7, 8, 9), 10, (11, 12), 13
BACKGROUND_LABEL = 3
VARIANCES = [0.1, 0.1, 0.2, 0.2]  # those of `detection.models.box_coder`


def caffe_detector(weights: CaffeWeights, prior_sizes: str | None = None, input_size: int | None = None) -> Pelee:
    """Pelee of a Caffe file with its number of classes, its kernel size of the heads and its priors, in eval mode.

    Args:
        weights: the file's layers.
        prior_sizes: a key of `PRIOR_SIZES`, for a file that does not state its priors.
        input_size: side of the square input in pixels; by default the file's, or the published one.

    Raises:
        WeightsError: another network, or one that is incomplete.
        SettingsError: the file does not state its priors, or states others than `prior_sizes`.
    """
    classes = weights.layer(FIRST_HEAD).blobs[0]
    if classes.ndim != 4 or len(classes) % PRIORS_PER_CELL or len(classes) < 2 * PRIORS_PER_CELL:
        shown = "×".join(map(str, classes.shape))
        raise WeightsError(
            f"{weights.path}: layer {FIRST_HEAD} has the shape {shown}, expected 6 × classes × 256 × 1 × 1"
        )
    num_classes = len(classes) // PRIORS_PER_CELL - 1
    try:
        size = input_size or _input_size(weights) or ARCHITECTURES["pelee"].input_size
        ARCHITECTURES["pelee"].check_input_size(size)
        sizes = _prior_sizes(weights, size, num_classes, prior_sizes)
        _check_background(weights)
    except ValueError as error:
        raise WeightsError(f"{weights.path}: a layer's parameters are damaged ({error})") from None
    config = PeleeConfig(num_classes=num_classes, input_size=size, prior_sizes=sizes, head_kernel=classes.shape[-1])
    network = Pelee(config)
    assert isinstance(network.backbone, PeleeNet)
    tensors = {f"backbone.{key}": values for key, values in caffe_features(weights, network.backbone).items()}
    for module, name in layer_names():
        part = network.get_submodule(module)
        if isinstance(part, ConvUnit):
            found = weights.unit(name, part)
        else:
            assert isinstance(part, nn.Conv2d)
            found = weights.convolution(name, part)
        tensors |= {f"{module}.{key}": values for key, values in found.items()}
    weights.check_all_taken()
    network.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in tensors.items()})
    return network.eval()


def layer_names() -> list[tuple[str, str]]:
    """Modules of `Pelee` after the backbone, each with its layer in Caffe."""
    found = [("extras.0.reduce", "stage4_tb/relu/ext1/fe1_1"), ("extras.0.shrink", "ext1/fe1_2")]
    for number in (2, 3):
        found += [
            (f"extras.{number - 1}.{part}", f"ext1/fe{number}_{at}") for at, part in ((1, "reduce"), (2, "shrink"))
        ]
    for number in range(5):
        name = f"stage4_tb/ext/pm{number + 2}"  # the first block feeds the heads pm1 and pm2
        found.append((f"blocks.{number}.shortcut", name))
        found += [(f"blocks.{number}.residual.{at}", f"{name}/b2{letter}") for at, letter in enumerate("abc")]
    for number in range(6):
        name = f"ext/pm{number + 1}_mbox"
        found += [(f"heads.{number}.classify", f"{name}_conf"), (f"heads.{number}.regress", f"{name}_loc")]
    return found


# The functions below raise ValueError where a message of the file cannot be parsed.


def _input_size(weights: CaffeWeights) -> int | None:
    """Side of the square input that the file's Input layer states, if it has one."""
    for layer in weights.layers.values():
        parameters = layer.parameters(INPUT_PARAMETERS) if layer.kind == "Input" else None
        for shape in (parameters or {}).get(INPUT_SHAPE, []):
            sides = integers(parse(as_bytes(shape)), DIMENSIONS)
            if len(sides) != 4 or sides[1] != 3 or sides[2] != sides[3]:
                raise WeightsError(f"{weights.path}: the input is {'×'.join(map(str, sides))}, expected 1×3×S×S")
            return sides[3]
    return None


def _prior_sizes(weights: CaffeWeights, size: int, num_classes: int, chosen: str | None) -> tuple[float, ...]:
    """Smallest prior of each head as a fraction of the input, then the largest of the last: the file's, or `chosen`."""
    names = [f"ext/pm{number}_mbox_priorbox" for number in range(1, 7)]
    stated = [
        weights.layers[name].parameters(PRIOR_BOX_PARAMETERS) if name in weights.layers else None for name in names
    ]
    if not any(stated):
        if chosen is None and num_classes == 80:
            chosen = "coco"
        if chosen is None:
            raise SettingsError(
                f"{weights.path} does not state its priors: choose --prior-sizes voc (trained on VOC alone) or coco "
                "(trained on COCO first: the published VOC 07+12+COCO)"
            )
        return PRIOR_SIZES[chosen]
    ranges = []
    for name, parameters, cells in zip(names, stated, head_map_sizes(size), strict=True):
        if not parameters:
            raise WeightsError(f"{weights.path}: layer {name} does not state its priors, and others do")
        ranges.append(_range(weights, name, parameters, size / cells))
    for name, (_, largest), (smallest, _) in zip(names, ranges, ranges[1:], strict=False):
        if abs(largest - smallest) > 1e-3:
            raise WeightsError(
                f"{weights.path}: layer {name} has max_size {largest:g}, expected the next one's min_size {smallest:g}"
            )
    sizes = (*(round(smallest / size, 5) for smallest, _ in ranges), round(ranges[-1][1] / size, 5))
    if chosen is not None and sizes != PRIOR_SIZES[chosen]:
        raise SettingsError(f"{weights.path} states priors of {sizes} of the input, and --prior-sizes is {chosen}")
    return sizes


def _range(weights: CaffeWeights, name: str, message: Message, step: float) -> tuple[float, float]:
    """Smallest and largest prior of a head in pixels; WeightsError for priors that this network cannot have."""
    smallest, largest, ratios = (floats(message, number) for number in (MIN_SIZE, MAX_SIZE, RATIOS))
    steps = [value for number in (STEP, *STEPS) for value in floats(message, number)]
    found = {
        "min_size": (len(smallest), 1),
        "max_size": (len(largest), 1),
        "aspect_ratio": ([round(ratio, 4) for ratio in ratios], [ratio for ratio in ASPECT_RATIOS if ratio > 1]),
        "flip": (integers(message, FLIP) or [1], [1]),
        "clip": (integers(message, CLIP) or [0], [0]),
        "variance": ([round(value, 4) for value in floats(message, VARIANCE)], VARIANCES),
        "offset": (floats(message, OFFSET) or [0.5], [0.5]),
        "image size": ([value for number in IMAGE_SIZES for value in integers(message, number) if value], []),
        "step": ([value for value in steps if value and abs(value - step) > 1e-3], []),
    }
    for key, (value, expected) in found.items():
        if value != expected:
            raise WeightsError(f"{weights.path}: layer {name} has {key} {value}, this project's Pelee has {expected}")
    if not 0 < smallest[0] <= largest[0] < math.inf:
        raise WeightsError(f"{weights.path}: layer {name} has priors of {smallest[0]:g} to {largest[0]:g} pixels")
    return smallest[0], largest[0]


def _check_background(weights: CaffeWeights) -> None:
    for layer in weights.layers.values():
        labels = integers(layer.parameters(DETECTION_OUTPUT_PARAMETERS) or {}, BACKGROUND_LABEL)
        if labels and labels[-1] != 0:
            raise WeightsError(f"{weights.path}: the background is label {labels[-1]}, expected 0")
