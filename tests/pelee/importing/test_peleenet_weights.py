"""PeleeNet's published weights: results as OpenCV 4 computed them, from Caffe and PyTorch alike; what does not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import WeightsError
from pelee.classification.inference_model import ClassificationGraph
from pelee.importing.caffe_weights import CaffeWeights
from pelee.importing.peleenet_weights import caffe_classifier, torch_classifier, unit_names
from pelee.models.layers import fuse_conv_bn
from pelee.models.peleenet import PeleeNet
from tests.support.published_weights import BLOCKS, CaffeNetwork, checkpoint, pattern

# Probabilities of three classes by OpenCV 4.14 for `CaffeNetwork(0, eps=1e-5, size=224)` on `pattern(224)`.
EXPECTED = {770: 0.310497, 795: 0.300027, 398: 0.158923}


def probabilities(network: PeleeNet, fused: bool = False) -> torch.Tensor:
    graph = ClassificationGraph(network).eval()
    if fused:
        fuse_conv_bn(graph)
    with torch.inference_mode():
        ((found,),) = graph(torch.from_numpy(pattern(224))[None])
    return found


def caffe(folder: Path, merged: bool = False, convolution: bool = False) -> PeleeNet:
    network = CaffeNetwork(0, merged, eps=1e-5, size=224).features().classifier(1000, convolution)
    return caffe_classifier(CaffeWeights(network.save(folder / "file.caffemodel")))


@pytest.mark.slow
@pytest.mark.parametrize("merged", [False, True])
def test_caffe_network_gives_the_reference_results(merged: bool, tmp_path: Path) -> None:
    network = caffe(tmp_path, merged)
    for fused in (False, True):
        found = probabilities(network, fused)
        for label, value in EXPECTED.items():
            assert found[label].item() == pytest.approx(value, abs=1e-4)
        assert found.argmax() == 770


@pytest.mark.slow
def test_checkpoint_gives_the_reference_results() -> None:
    found = probabilities(torch_classifier(checkpoint(0, prefix="")["state_dict"], Path("a.pth.tar")))
    for label, value in EXPECTED.items():
        assert found[label].item() == pytest.approx(value, abs=1e-4)


@pytest.mark.slow
def test_classifier_may_be_a_convolution_without_bias(tmp_path: Path) -> None:
    network = caffe(tmp_path, convolution=True)
    state = network.state_dict()
    assert state["classifier.1.weight"].shape == (1000, 704) and not state["classifier.1.bias"].any()


def test_every_unit_of_the_network_has_a_name() -> None:
    named = {names.module for names in unit_names(BLOCKS)}
    convolutions = {name.removesuffix(".0.weight") for name in PeleeNet(0).state_dict() if name.endswith(".0.weight")}
    assert named == convolutions and len(named) == 113


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.transition4.norm.bias"), "has no tensor features.transition4.norm.bias"),
        (lambda state: state.pop("classifier.weight"), "has no classifier.weight"),
        (lambda state: state.update({"features.extra.weight": torch.zeros(2)}), "has a tensor features.extra.weight"),
        (
            lambda state: state.update({"features.stemblock.stem1.conv.weight": torch.zeros(32, 3, 5, 5)}),
            "has the shape 32×3×5×5, expected 32×3×3×3",
        ),
    ],
)
def test_another_state_dict_is_refused(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    state = checkpoint(0, 3, prefix="")["state_dict"]
    change(state)
    with pytest.raises(WeightsError) as caught:
        torch_classifier(state, Path("a.pth.tar"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_layer_too_many_or_too_few_is_refused(tmp_path: Path) -> None:
    network = CaffeNetwork(0, size=224).features().classifier(3)
    network.layers = [layer for layer in network.layers if layer.name != "stage4_2/branch2b"]
    with pytest.raises(WeightsError, match="no weights of the layer stage4_2/branch2b"):
        caffe_classifier(CaffeWeights(network.save(tmp_path / "file.caffemodel")))
    network = CaffeNetwork(0, size=224).features().classifier(3)
    network.conv("stage5_tb", "stage4_tb", (704, 8, 1))
    with pytest.raises(WeightsError, match="weights of a layer stage5_tb"):
        caffe_classifier(CaffeWeights(network.save(tmp_path / "file.caffemodel")))
