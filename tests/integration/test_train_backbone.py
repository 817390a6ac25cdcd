"""Detectors on backbones of timm and torchvision: trained, loaded and exported from the command line."""

from pathlib import Path

import numpy as np
import pytest

from data.images.image_io import read_image
from detection.commands.export import main as export
from detection.commands.train import main as train
from detection.detector import Detector
from weights.store import resolve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("quiet_lightning"),
]


@pytest.mark.parametrize(
    "backbone",
    ["mobilenetv3_large_100", "mobilenet_v3_large", "vgg11_bn"],  # of timm, of torchvision, poolings that round up
)
def test_a_library_backbone_is_trained_loaded_and_exported(backbone: str, yolo_root: Path, tmp_path: Path) -> None:
    words = ["--dataset", "yolo", "--root", str(yolo_root), "--output", str(tmp_path), "--backbone-model", backbone]
    words += ["--max-steps", "2", "--batch-size", "2", "--input-size", "80", "--precision", "fp32"]
    assert train([*words, "--accelerator", "cpu", "--no-export"]) in (0, 1)  # 1: it finds nothing yet
    model = tmp_path / "model"
    card = resolve(model).card
    assert card.architecture_settings["backbone_model"] == backbone
    image = read_image(yolo_root / "images" / "val" / "0.png")
    expected = Detector.load(model, runtime="torch")(image, confidence=0.0)
    assert len(expected) > 0
    assert export(["--weights", str(model), "--format", "onnx", "--output", str(tmp_path / "onnx")]) == 0
    found = Detector.load(tmp_path / "onnx")(image, confidence=0.0)
    assert len(found) == len(expected)
    np.testing.assert_allclose(np.sort(found.confidence), np.sort(expected.confidence), atol=1e-3)
