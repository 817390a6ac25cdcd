"""The torch runtime: what it gives is the network's own answer, fused or not, picture by picture."""

import numpy as np
import pytest
import torch
from torch import nn

from detection.detector import Detector
from detection.model import DetectionGraph, Pelee, PeleeConfig
from detection.model_file import ARCHITECTURE, load_network, to_settings
from detection.postprocess import postprocess
from detection.runtime import load_runtime
from detection.runtime.torch import TorchRuntime
from pelee.networks.peleenet import PeleeNetConfig
from weights.card import Card
from weights.store import ModelFile, save_model

CONFIG = PeleeConfig(
    num_classes=3,
    input_size=96,
    backbone=PeleeNetConfig(blocks=(1, 1, 1, 1), growth_rate=8, stem_channels=8),
)
PRIORS = (36 + 36 + 9 + 4 + 4 + 4) * 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """A small model with batch norms that are not the identity."""
    torch.manual_seed(0)
    network = Pelee(CONFIG)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    card = Card("small", "detection", ARCHITECTURE, ["a", "b", "c"], 96, architecture_settings=to_settings(CONFIG))
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return save_model(tmp_path_factory.mktemp("small"), tensors, card)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)


def test_runtime_gives_the_networks_answer(model: ModelFile) -> None:
    images = pictures(3)
    scores, boxes = TorchRuntime(model)(images)
    with torch.no_grad():
        expected_scores, expected_boxes = DetectionGraph(load_network(model))(torch.from_numpy(images))
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
    np.testing.assert_allclose(boxes, expected_boxes, atol=1e-4)


def test_runtime_contract(model: ModelFile) -> None:
    runtime = TorchRuntime(model)
    assert runtime.input_size == 96
    for count in (1, 2):
        scores, boxes = runtime(pictures(count))
        assert scores.shape == (count, PRIORS, 3) and boxes.shape == (count, PRIORS, 4)
        assert scores.dtype == boxes.dtype == np.float32
        assert scores.min() >= 0 and scores.max() <= 1


def test_a_batch_is_its_pictures(model: ModelFile) -> None:
    runtime, images = TorchRuntime(model), pictures(2)
    together = runtime(images)
    for index in range(2):
        for whole, alone in zip(together, runtime(images[index : index + 1]), strict=True):
            np.testing.assert_allclose(whole[index], alone[0], atol=1e-4)


def test_runtime_takes_views_and_leaves_them_alone(model: ModelFile) -> None:
    runtime, images = TorchRuntime(model), pictures(1)
    before = images.copy()
    flipped = images[:, :, ::-1]  # negative strides, which torch does not take
    scores, _ = runtime(flipped)
    np.testing.assert_array_equal(scores, runtime(np.ascontiguousarray(flipped))[0])
    assert np.array_equal(images, before)


def test_runtime_runs_fused(model: ModelFile) -> None:
    graph = TorchRuntime(model).graph
    assert not graph.training
    assert not any(isinstance(module, nn.BatchNorm2d) for module in graph.modules())


def test_load_runtime(model: ModelFile) -> None:
    assert load_runtime(model).input_size == 96


def test_detector_from_a_folder(model: ModelFile) -> None:
    """The whole way: a folder's name, a picture of another shape, boxes in its pixels."""
    detector = Detector.load(model.path.parent)
    picture = np.random.default_rng(0).integers(0, 256, (50, 120, 3), dtype=np.uint8)
    found = detector(picture, confidence=0.05)
    assert len(found) > 0
    assert (found.xyxy >= 0).all() and (found.xyxy <= [120, 50, 120, 50]).all()
    assert found.class_id is not None and set(found.class_id) <= {0, 1, 2}

    runtime = TorchRuntime(model)
    same = pictures(1)
    scores, boxes = runtime(same)
    expected = postprocess(scores[0], boxes[0], width=96, height=96, confidence=0.05)
    again = detector(same[0], confidence=0.05)  # already of the input's size: nothing to warp
    np.testing.assert_allclose(again.xyxy, expected.boxes, atol=1e-3)
