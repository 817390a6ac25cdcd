"""Pelee of the PyTorch ports: parity with a network of that structure on photos, its card, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.errors import PeleeError
from data.images.image_io import read_image
from data.images.preprocess import preprocess
from detection.importing.import_model import ImportOptions, read_model
from detection.importing.port_weights import port_detector
from detection.models.inference_model import DetectionGraph
from detection.models.loading import load_network
from pelee.models.layers import fuse_conv_bn
from tests.support.paths import ROOT
from tests.support.pelee_port import port_outputs, port_state
from weights.store import save_model

SCORE, PIXELS = 1e-4, 0.01
VOC, COCO = (0.10, 0.20, 0.43, 0.66, 0.89, 1.12), (0.07, 0.15, 0.40, 0.65, 0.90, 1.15)


def photos() -> Tensor:
    names = ("astronaut.jpg", "chelsea.jpg")
    squares = [preprocess(read_image(ROOT / "data" / "samples" / name), 304) for name in names]
    return torch.from_numpy(np.stack(squares))


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "sizes"), [(20, VOC), (80, COCO)])
def test_network_agrees_with_the_ports(classes: int, sizes: tuple[float, ...], tmp_path: Path) -> None:
    state = port_state(classes)
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "pelee.pth")
    imported = read_model(tmp_path / "pelee.pth", ImportOptions("mine"))
    with torch.inference_mode():
        expected, expected_boxes = port_outputs(state, photos(), sizes)
        for graph in (DetectionGraph(imported.network).eval(), fuse_conv_bn(DetectionGraph(imported.network))):  # type: ignore[arg-type]
            scores, boxes = graph(photos())
            assert scores.shape == (2, 2976, classes) and expected[..., 1:].max() > 0.3
            assert (scores - expected[..., 1:]).abs().max() < SCORE
            assert (boxes - expected_boxes).abs().max() * 304 < PIXELS


@pytest.mark.slow
def test_card_and_folder(tmp_path: Path) -> None:
    state = port_state(20)
    torch.save(state, tmp_path / "pelee.pth")
    imported = read_model(tmp_path / "pelee.pth", ImportOptions("mine"))
    card = imported.card
    assert (card.architecture, card.class_names[0], card.input_size) == ("pelee-port", "aeroplane", 304)
    assert card.preprocessing["mean"] == [123.68, 116.78, 103.94] and card.preprocessing["scale"] == [1.0, 1.0, 1.0]
    assert "Pelee (PyTorch port), 20 classes (VOC's names), input 304 px, priors of 10, 20, 43" in imported.summary
    tensors = {name: tensor.numpy() for name, tensor in imported.network.state_dict().items()}
    loaded = load_network(save_model(tmp_path / "mine", tensors, card, half=False))
    with torch.inference_mode():
        first, second = (DetectionGraph(network)(photos())[0] for network in (imported.network, loaded))  # type: ignore[arg-type]
    assert torch.equal(first, second)


@pytest.mark.slow
def test_what_does_not_fit_is_one_line() -> None:
    state = port_state(20)

    def refused(changed: dict[str, Tensor], prior_sizes: str | None = None) -> str:
        with pytest.raises(PeleeError) as error:
            port_detector(changed, Path("a.pth"), prior_sizes)
        assert "\n" not in str(error.value)
        return str(error.value)

    name = "resblock.4.res1c.conv.weight"
    assert f"a.pth: has no tensor {name}" in refused({key: value for key, value in state.items() if key != name})
    assert f"tensor {name} has the shape 3×2, expected 256×128×1×1" in refused(state | {name: torch.zeros(3, 2)})
    assert "has a tensor conf.5.weight" in refused(state | {"conf.5.weight": torch.zeros(1)})
    assert "tensor conf.0.weight has the shape 125×256×1×1" in refused(
        state | {"conf.0.weight": torch.zeros(125, 256, 1, 1)}
    )
    assert "choose --prior-sizes voc or coco" in refused(port_state(3))
    assert port_detector(port_state(3), Path("a.pth"), "coco").config.prior_sizes == COCO
