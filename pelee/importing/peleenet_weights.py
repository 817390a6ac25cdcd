"""PeleeNet's published weights: names of its layers in Caffe and in PyTorch, their tensors in this project's network.

Source of the names: github.com/Robert-JunWang/Pelee and github.com/Robert-JunWang/PeleeNet. The design is the same, the
default of `PeleeNetConfig`; Caffe's first convolution takes BGR, PyTorch's RGB.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import WeightsError
from pelee.importing.caffe_weights import CaffeWeights
from pelee.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvUnit, Normalize
from pelee.models.peleenet import PeleeNet

CAFFE_FIRST, CAFFE_CLASSIFIER = "stem1", "classifier"
TORCH_CLASSIFIER = "classifier"
CLASSIFIER = "classifier.1"  # the linear layer in `PeleeNet`
CHANNELS = 704  # inputs of the classifier


class UnitNames(NamedTuple):
    """Names of one convolution with batch norm: the module in `PeleeNet`, in Caffe and in the authors' PyTorch code."""

    module: str
    caffe: str
    torch: str


def unit_names(blocks: tuple[int, ...]) -> Iterator[UnitNames]:
    """Names of all units of a two-branch stem and of stages of so many dense layers."""
    for name in ("stem1", "stem2a", "stem2b", "stem3"):
        yield UnitNames(f"stem.{name}", name, f"features.stemblock.{name}")
    for stage, layers in enumerate(blocks):
        for layer in range(layers):
            caffe = f"stage{stage + 1}_{layer + 1}"
            name = f"features.denseblock{stage + 1}.denselayer{layer + 1}"
            for branch, letters in ((1, "ab"), (2, "abc")):
                for index, letter in enumerate(letters):
                    own, part = f"stages.{stage}.{layer}.branch{branch}.{index}", f"branch{branch}{letter}"
                    yield UnitNames(own, f"{caffe}/{part}", f"{name}.{part}")
        yield UnitNames(f"transitions.{stage}", f"stage{stage + 1}_tb", f"features.transition{stage + 1}")


def caffe_features(weights: CaffeWeights, network: PeleeNet) -> dict[str, np.ndarray]:
    """Tensors of the feature extractor from a Caffe network, whose BGR input becomes RGB."""
    tensors: dict[str, np.ndarray] = {}
    for names in unit_names(network.config.blocks):
        module = network.get_submodule(names.module)
        assert isinstance(module, ConvUnit)
        unit = weights.unit(names.caffe, module)
        if names.caffe == CAFFE_FIRST:
            unit["0.weight"] = np.ascontiguousarray(unit["0.weight"][:, ::-1])
        tensors |= {f"{names.module}.{key}": values for key, values in unit.items()}
    return tensors


def caffe_classifier(weights: CaffeWeights) -> PeleeNet:
    """PeleeNet of a Caffe file, its classifier a convolution or an inner product, with or without bias.

    Raises:
        WeightsError: another network, or one that is incomplete.
    """
    network = imagenet_peleenet(len(weights.layer(CAFFE_CLASSIFIER).blobs[0].reshape(-1)) // CHANNELS)
    tensors = caffe_features(weights, network)
    linear = network.get_submodule(CLASSIFIER)
    assert isinstance(linear, nn.Linear)
    classifier = weights.convolution(CAFFE_CLASSIFIER, linear)
    weights.check_all_taken()
    return fill(network, tensors | {f"{CLASSIFIER}.{key}": values for key, values in classifier.items()})


def torch_classifier(state: Mapping[str, Tensor], path: Path) -> PeleeNet:
    """PeleeNet of the authors' PyTorch state dict; `path` is for the messages.

    Raises:
        WeightsError: another network, or one that is incomplete.
    """
    weight = state.get(f"{TORCH_CLASSIFIER}.weight")
    if weight is None or weight.ndim != 2:
        raise WeightsError(f"{path}: has no {TORCH_CLASSIFIER}.weight of a linear layer; expected PeleeNet's weights")
    network = imagenet_peleenet(len(weight))
    renamed = {f"{CLASSIFIER}.{key}": f"{TORCH_CLASSIFIER}.{key}" for key in ("weight", "bias")}
    for names in unit_names(network.config.blocks):
        unit = {"0.weight": "conv.weight"}
        unit |= {f"1.{key}": f"norm.{key}" for key in ("weight", "bias", "running_mean", "running_var")}
        renamed |= {f"{names.module}.{own}": f"{names.torch}.{theirs}" for own, theirs in unit.items()}
    own_state = network.state_dict()
    tensors = {name: values.numpy() for name, values in own_state.items() if name.endswith("num_batches_tracked")}
    for own, name in renamed.items():
        if name not in state:
            raise WeightsError(f"{path}: has no tensor {name}; it is another network or incomplete")
        if state[name].shape != own_state[own].shape:
            shown, wanted = ("×".join(map(str, sides)) for sides in (state[name].shape, own_state[own].shape))
            raise WeightsError(f"{path}: tensor {name} has the shape {shown}, expected {wanted}")
        tensors[own] = state[name].float().numpy()
    known = set(renamed.values())
    if extra := [name for name in state if name not in known and not name.endswith("num_batches_tracked")]:
        raise WeightsError(f"{path}: has a tensor {extra[0]}, which this project's PeleeNet lacks")
    return fill(network, tensors)


def imagenet_peleenet(num_classes: int) -> PeleeNet:
    """PeleeNet with the normalization that the authors trained it with on ImageNet, that of torchvision's networks.

    The published Caffe file is converted from PyTorch, so that this is its normalization, too.
    """
    network = PeleeNet(max(1, num_classes))
    network.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
    return network


def fill(network: PeleeNet, tensors: Mapping[str, np.ndarray]) -> PeleeNet:
    """Load all tensors into a network, which is returned in eval mode."""
    network.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()})
    return network.eval()
