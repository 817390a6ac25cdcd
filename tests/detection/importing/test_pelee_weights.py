"""The authors' Pelee: results as OpenCV 4 computed them, priors and sizes from the file, what does not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.errors import PeleeError, SettingsError, WeightsError
from detection.importing.pelee_weights import caffe_detector
from detection.models.inference_model import DetectionGraph
from detection.models.pelee import Pelee
from detection.models.priors import COCO_SIZES, VOC_SIZES
from pelee.importing.caffe_weights import CaffeWeights
from pelee.models.layers import fuse_conv_bn
from tests.support.caffe_teacher import field
from tests.support.published_weights import VOC_PERCENT, CaffeNetwork, flag, number, pattern

# By OpenCV 4.14 for `CaffeNetwork(0).features().detector()` on `pattern(304)`: prior, label (0-based, background left
# out) of its largest score, this score, and the box relative to the input.
EXPECTED = [
    (0, 18, 0.527613, (-0.00044, -0.00252, 0.05958, 0.06620)),
    (2171, 6, 0.619399, (-0.03015, -0.07333, 0.07099, 0.12800)),
    (2600, 14, 0.276604, (0.70731, 0.13817, 0.90628, 0.22832)),
    (4800, 0, 0.950867, (0.70364, 0.54348, 1.04117, 0.99028)),
    (5000, 15, 0.401014, (-0.05142, 0.34980, 0.70935, 0.68286)),
    (5100, 1, 0.556038, (-0.17039, 0.13931, 0.48227, 0.81291)),
    (5141, 17, 0.372949, (0.23393, -0.36904, 0.70990, 1.33564)),
]


def load(caffe: CaffeNetwork, folder: Path, **options: Any) -> Pelee:
    return caffe_detector(CaffeWeights(caffe.save(folder / "file.caffemodel")), **options)


@pytest.mark.slow
@pytest.mark.parametrize("merged", [False, True])
def test_network_gives_the_reference_results(merged: bool, tmp_path: Path) -> None:
    network = load(CaffeNetwork(0, merged).features().detector(), tmp_path)
    assert network.config.prior_sizes == COCO_SIZES  # of the file, with 20 classes
    for graph in (DetectionGraph(network).eval(), fuse_conv_bn(DetectionGraph(network))):
        with torch.inference_mode():
            (scores,), (boxes,) = graph(torch.from_numpy(pattern(304))[None])
        assert scores.shape == (5142, 20)
        for prior, label, score, box in EXPECTED:
            assert scores[prior].argmax() == label
            assert scores[prior, label].item() == pytest.approx(score, abs=1e-4)
            assert boxes[prior].tolist() == pytest.approx(box, abs=0.01 / 304 + 1e-5)


@pytest.fixture(scope="module")
def small() -> CaffeNetwork:
    """A network with two classes; a test changes a copy of its layers."""
    return CaffeNetwork(1).features().detector(2, VOC_PERCENT)


@pytest.fixture
def caffe(small: CaffeNetwork) -> CaffeNetwork:
    own = CaffeNetwork(1)
    own.layers = [type(layer)(**{**vars(layer), "blobs": list(layer.blobs)}) for layer in small.layers]
    return own


def without_wire(caffe: CaffeNetwork, kind: str) -> CaffeNetwork:
    for layer in caffe.layers:
        if layer.kind == kind:
            layer.wire = b""
    return caffe


@pytest.mark.slow
def test_classes_input_and_priors_are_the_files(caffe: CaffeNetwork, tmp_path: Path) -> None:
    config = load(caffe, tmp_path).config
    assert (config.num_classes, config.input_size, config.prior_sizes) == (2, 304, VOC_SIZES)
    assert load(caffe, tmp_path, prior_sizes="voc").config == config
    with pytest.raises(SettingsError, match=r"states priors of .* and --prior-sizes is coco"):
        load(caffe, tmp_path, prior_sizes="coco")


@pytest.mark.slow
def test_file_of_another_input_size_has_the_same_fractions(tmp_path: Path) -> None:
    caffe = CaffeNetwork(1, size=320).features().detector(2, VOC_PERCENT)
    config = load(caffe, tmp_path).config
    assert (config.input_size, config.prior_sizes) == (320, VOC_SIZES)
    config = load(without_wire(caffe, "Input"), tmp_path, input_size=320).config
    assert (config.input_size, config.prior_sizes) == (320, VOC_SIZES)


@pytest.mark.slow
def test_priors_that_the_file_does_not_state_are_to_be_named(caffe: CaffeNetwork, tmp_path: Path) -> None:
    without_wire(caffe, "PriorBox")
    with pytest.raises(SettingsError, match="choose --prior-sizes voc"):
        load(caffe, tmp_path)
    assert load(caffe, tmp_path, prior_sizes="coco").config.prior_sizes == COCO_SIZES


@pytest.mark.slow
def test_coco_has_one_choice_of_priors(tmp_path: Path) -> None:
    network = load(CaffeNetwork(1).features().detector(80, stated=False), tmp_path)
    assert (network.config.num_classes, network.config.prior_sizes) == (80, COCO_SIZES)


def wire(caffe: CaffeNetwork, name: str, content: bytes) -> None:
    next(layer for layer in caffe.layers if layer.name == name).wire += content


def prior(content: bytes) -> Callable[[CaffeNetwork], None]:
    return lambda caffe: wire(caffe, "ext/pm3_mbox_priorbox", content)


VARIANCES = b"".join(number(6, value) for value in (0.1, 0.1, 0.2, 0.2))
START = number(1, 112.48) + number(2, 164.16) + number(3, 2) + number(3, 3) + VARIANCES


def replace_blob(name: str, blob: np.ndarray) -> Callable[[CaffeNetwork], None]:
    def change(caffe: CaffeNetwork) -> None:
        next(layer for layer in caffe.layers if layer.name == name).blobs[0] = blob

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (prior(field(203, START + flag(4, 0))), r"ext/pm3_mbox_priorbox has flip \[0\]"),
        (prior(field(203, START + flag(5, 1))), r"clip \[1\]"),
        (prior(field(203, START + number(10, 16))), r"step \[16.0\]"),
        (prior(field(203, START + number(13, 0))), r"offset \[0.0\]"),
        (prior(field(203, START + flag(7, 300))), r"image size \[300\]"),
        (prior(field(203, START + number(3, 4))), r"aspect_ratio \[2.0, 3.0, 4.0\]"),
        (prior(field(203, START + number(6, 1))), "variance"),
        (prior(field(203, START.replace(number(1, 112.48), number(1, 100)))), "max_size 112.48, expected .* 100"),
        (prior(field(203, START.replace(number(1, 112.48), number(1, -1)))), "priors of -1 to"),
        (prior(field(203, b"\x0d\x00")), "parameters are damaged"),
        (lambda caffe: wire(caffe, "detection_out", field(204, flag(3, 2))), "background is label 2"),
        (lambda caffe: wire(caffe, "data", field(143, field(1, field(1, bytes([1, 3, 8, 9]))))), "input is 1×3×8×9"),
        (lambda caffe: wire(caffe, "data", field(143, field(1, field(1, bytes([1, 3, 9, 9]))))), "input size 9"),
        (replace_blob("ext/pm1_mbox_conf", np.zeros((20, 256, 1, 1))), "shape 20×256×1×1, expected 6 × classes"),
        (replace_blob("ext/pm2_mbox_conf", np.zeros((24, 256, 1, 1))), "24×256×1×1, expected 18×256×1×1"),
        (replace_blob("stage4_tb/ext/pm6/b2b", np.zeros((64, 128, 3, 3))), "stage4_tb/ext/pm6/b2b has the shape"),
        (lambda caffe: setattr(caffe, "layers", [a for a in caffe.layers if a.name != "ext1/fe2_1"]), "ext1/fe2_1"),
        (lambda caffe: caffe.conv("ext/pm7", "ext1/fe3_2", (256, 8, 1)) and None, "layer ext/pm7, which"),
    ],
)
def test_another_network_is_refused(
    change: Callable[[CaffeNetwork], None], message: str, caffe: CaffeNetwork, tmp_path: Path
) -> None:
    change(caffe)
    with pytest.raises(PeleeError, match=message) as caught:
        load(caffe, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_heads_of_kernel_3(caffe: CaffeNetwork, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for layer in caffe.layers:
        if layer.kind == "Convolution" and "_mbox_" in layer.name:
            layer.blobs[0] = rng.normal(0, 0.01, (*layer.blobs[0].shape[:2], 3, 3))
    assert load(caffe, tmp_path).config.head_kernel == 3
    replace_blob("ext/pm4_mbox_loc", np.zeros((24, 256, 1, 1)))(caffe)
    with pytest.raises(WeightsError, match="ext/pm4_mbox_loc has the shape"):
        load(caffe, tmp_path)
