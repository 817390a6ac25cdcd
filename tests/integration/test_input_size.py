"""One set of weights at several input sizes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import SettingsError
from data.images.preprocess import preprocess
from detection.detector import Detector
from detection.inference.detection_session import at_size
from detection.models.inference_model import DetectionGraph
from detection.models.loading import load_network
from tests.support.tiny_detector import pictures, save_small
from weights.export_manifest import Export
from weights.store import ModelFile


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 96, 128])
def test_the_weights_run_at_any_size_with_its_own_priors(tmp_path: Path, size: int) -> None:
    model = save_small(tmp_path / "m")
    detector = Detector.load(tmp_path / "m", runtime="torch", device="cpu", size=size)
    assert detector.input_size == size
    (image,) = pictures(1, size)
    scores, boxes = detector.runtime(image[None])
    with torch.inference_mode():
        graph = DetectionGraph(load_network(model), size, in_pixels=True)
        expected = graph(torch.from_numpy(preprocess(image, size))[None])
    np.testing.assert_allclose(scores, expected[0], atol=1e-4)
    np.testing.assert_allclose(boxes, expected[1], atol=1e-3)
    assert len(detector(image, confidence=0.01).xyxy) > 0


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 96, 128])
def test_at_another_size_priors_keep_their_pixels(tmp_path: Path, size: int) -> None:
    network = load_network(save_small(tmp_path / "m"))  # of 64 pixels
    priors = network.priors(size, in_pixels=True)
    shares = network.priors(size)
    torch.testing.assert_close(priors[:, 2:] * size, shares[:, 2:] * 64)
    assert torch.equal(priors[:, :2], shares[:, :2])
    assert torch.equal(DetectionGraph(network, size, in_pixels=True).priors, priors)
    assert torch.equal(DetectionGraph(network, size).priors, shares)  # as it is trained, unless told otherwise


@pytest.mark.slow
def test_without_a_size_it_is_the_cards(tmp_path: Path) -> None:
    save_small(tmp_path / "m")
    assert Detector.load(tmp_path / "m", runtime="torch", device="cpu").input_size == 64


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 48, -16])
def test_a_size_that_does_not_fit_is_one_line(tmp_path: Path, size: int) -> None:
    save_small(tmp_path / "m")
    with pytest.raises(SettingsError, match=f"is {size}|size {size} does not fit; expected a multiple of 16") as raised:
        Detector.load(tmp_path / "m", runtime="torch", device="cpu", size=size)
    assert "\n" not in str(raised.value)


def exported(model: ModelFile, folder: Path, size: int) -> ModelFile:
    """An export in name only, of those weights, for a size."""
    folder.mkdir()
    (folder / "model.xml").write_bytes(b"")
    card = replace(model.card, input_size=size)
    (folder / "card.json").write_text(card.to_json())
    export = Export("openvino", "f32", False, size, model.card.sha256, {"model.xml": "ab" * 32})
    (folder / "export.json").write_text(export.to_json())
    return ModelFile(card, folder / "model.xml", export)


@pytest.mark.slow
def test_an_export_has_a_size_of_its_own(tmp_path: Path) -> None:
    export = exported(save_small(tmp_path / "m"), tmp_path / "m" / "openvino", 64)
    assert at_size(export, 64).card.input_size == 64
    with pytest.raises(SettingsError, match="exported for an input of 64 pixels and runs at no other") as raised:
        Detector.load(tmp_path / "m" / "openvino", size=96)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_at_another_size_the_weights_run_and_not_the_export_beside_them(tmp_path: Path) -> None:
    exported(save_small(tmp_path / "m"), tmp_path / "m" / "openvino", 64)
    detector = Detector.load(tmp_path / "m", device="cpu", size=96)
    assert (detector.runtime.name, detector.input_size) == ("torch f32 cpu", 96)
    with pytest.raises(SettingsError, match="no export for 96 pixels; the torch runtime runs its weights at any size"):
        Detector.load(tmp_path / "m", runtime="openvino", size=96)
