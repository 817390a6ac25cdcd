"""Layers of a Caffe file as units: merged and unmerged, other epsilons, what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import WeightsError
from pelee.importing.caffe_weights import CaffeWeights
from pelee.models.layers import ConvUnit
from tests.support.published_weights import CaffeNetwork, Layer


def network(merged: bool = False, eps: float = 0.001) -> CaffeNetwork:
    caffe = CaffeNetwork(3, merged, eps, size=8)
    caffe.conv("a", "data", (3, 5, 3), relu=False)
    return caffe


def load(caffe: CaffeNetwork, folder: Path) -> CaffeWeights:
    return CaffeWeights(caffe.save(folder / "file.caffemodel"))


def unit(weights: CaffeWeights) -> ConvUnit:
    module = ConvUnit(3, 5, 3, padding=1, relu=False).eval()
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.unit("a", module).items()})
    return module


def expected(caffe: CaffeNetwork, images: torch.Tensor, eps: float) -> torch.Tensor:
    """Caffe's convolution, BatchNorm and Scale by their definitions, in double precision."""
    blobs = {layer.name: [torch.from_numpy(blob) for blob in layer.blobs] for layer in caffe.layers}
    x = torch.nn.functional.conv2d(images.double(), blobs["a"][0], padding=1)
    mean, variance, factor = blobs["a/bn"]
    gamma, beta = blobs["a/scale"]
    x = (x - (mean / factor)[:, None, None]) / ((variance / factor) + eps)[:, None, None].sqrt()
    return x * gamma[:, None, None] + beta[:, None, None]


@pytest.mark.parametrize("eps", [0.001, 1e-5, 0.1])
def test_merged_and_unmerged_units_give_caffes_results(eps: float, tmp_path: Path) -> None:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    wanted = expected(network(eps=eps), images, eps)
    for merged in (False, True):
        with torch.inference_mode():
            found = unit(load(network(merged, eps), tmp_path))(images)
        torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


def test_epsilon_that_the_file_does_not_state_is_caffes_default(tmp_path: Path) -> None:
    caffe = network()
    caffe.layers = [Layer(**{**vars(layer), "wire": b""}) for layer in caffe.layers]
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = unit(load(caffe, tmp_path))(images)
    torch.testing.assert_close(found.double(), expected(caffe, images, 1e-5), atol=1e-5, rtol=1e-5)


def test_batch_norm_without_scale_only_normalizes(tmp_path: Path) -> None:
    caffe = network()
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    gamma, beta = caffe.layers.pop().blobs
    with torch.inference_mode():
        found = unit(load(caffe, tmp_path))(images)
    caffe.layers.append(Layer("a/scale", "Scale", [], "a", blobs=[np.ones_like(gamma), np.zeros_like(beta)]))
    torch.testing.assert_close(found.double(), expected(caffe, images, 0.001), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers.pop("a"), "has no weights of the layer a"),
        (lambda layers: layers["a"].blobs.insert(0, np.zeros((5, 3, 1, 1))), "has the shape 5×3×1×1, expected 5×3×3×3"),
        (lambda layers: layers["a/bn"].blobs.pop(), "has 2 blobs, expected 3"),
        (lambda layers: layers["a/bn"].blobs.insert(0, np.zeros(4)), "has 4 blobs, expected 3"),
        (lambda layers: layers["a/scale"].blobs.insert(0, np.zeros(4)), "layer a/scale has the shape 4, expected 5"),
        (lambda layers: layers["a"].blobs[0].fill(np.nan), "layer a holds NaN"),
        (lambda layers: layers["a/bn"].blobs[1].fill(-1), "negative variance"),
        (lambda layers: setattr(layers["a/bn"], "wire", b"\xda\x08\x01\x80"), "is damaged"),
    ],
)
def test_what_does_not_fit_is_named(change, message: str, tmp_path: Path) -> None:
    caffe = network()
    layers = {layer.name: layer for layer in caffe.layers}
    change(layers)
    caffe.layers = [layer for layer in caffe.layers if layer.name in layers]
    with pytest.raises(WeightsError) as caught:
        unit(load(caffe, tmp_path))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_layer_that_nobody_took_is_another_networks(tmp_path: Path) -> None:
    caffe = network()
    weights = load(caffe, tmp_path)
    unit(weights)
    weights.check_all_taken()
    caffe.conv("extra", "a", (5, 2, 1))
    weights = load(caffe, tmp_path)
    unit(weights)
    with pytest.raises(WeightsError, match="layer extra, which"):
        weights.check_all_taken()
