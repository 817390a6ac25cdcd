"""pelee-import: a folder that detects and trains on, and errors in one line that leave nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data.datasets.voc import CLASS_NAMES
from detection.commands.import_ import main
from detection.commands.train import main as train
from detection.detector import Detector
from detection.importing.pelee_weights import layer_names
from detection.models.loading import load_network
from pelee.importing.peleenet_weights import unit_names
from pelee.models.layers import fuse_conv_bn
from tests.support.documentation import SHORT
from tests.support.paths import ROOT
from tests.support.published_weights import BLOCKS, COCO_PERCENT, VOC_PERCENT, CaffeNetwork, checkpoint
from weights.store import find_exports, load_tensors, resolve

SAMPLES = ROOT / "data" / "samples"


def shipped_as_caffe() -> CaffeNetwork:
    """The shipped detector as a merged Caffe network: trained values, so that int8 finds what f32 finds."""
    network = fuse_conv_bn(load_network(resolve("pelee-voc")))
    caffe = CaffeNetwork(0, merged=True).features().detector(20, VOC_PERCENT)
    layers = {layer.name: layer for layer in caffe.layers}
    modules = {names.caffe: f"backbone.{names.module}" for names in unit_names(BLOCKS)}
    for name, module_name in (modules | {name: module for module, name in layer_names()}).items():
        module = network.get_submodule(module_name)
        conv = module if isinstance(module, nn.Conv2d) else module.get_submodule("0")
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        weight = conv.weight.detach().numpy()
        layers[name].blobs = [weight[:, ::-1] if name == "stem1" else weight, conv.bias.detach().numpy()]
    return caffe


@pytest.mark.slow
def test_caffe_detector_becomes_a_model_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "pelee.caffemodel", tmp_path / "pelee-mine"
    shipped_as_caffe().save(file)
    assert main([str(file), "--output", str(folder), "--calibration", str(SAMPLES)]) == 0
    out = capsys.readouterr().out
    assert "20 classes (VOC's names)" in out and "exported to OpenVINO f32 and int8" in out
    model = resolve(folder)
    assert model.card.name == "pelee-mine" and model.card.class_names == list(CLASS_NAMES)
    found = {export.export.precision for export in find_exports(model) if export.export}
    assert found == {"f32", "int8"}
    assert "int8" in Detector.load(folder).runtime.name
    image = SAMPLES / "chelsea.jpg"
    wanted = Detector.load("pelee-voc", runtime="torch", precision="f32")(image, confidence=0.3)
    assert "cat" in wanted.data["class_name"]
    for runtime in ("torch", "openvino"):
        detections = Detector.load(folder, runtime=runtime, precision="f32")(image, confidence=0.3)
        assert list(detections.data["class_name"]) == list(wanted.data["class_name"])
        np.testing.assert_allclose(detections.xyxy, wanted.xyxy, atol=0.05)
        np.testing.assert_allclose(detections.confidence, wanted.confidence, atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_training_starts_from_an_imported_backbone(
    tmp_path: Path, yolo_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(checkpoint(1), tmp_path / "peleenet.pth.tar")
    assert main([str(tmp_path / "peleenet.pth.tar"), "--output", str(tmp_path / "backbone")]) == 0
    data = ["--dataset", "yolo", "--root", str(yolo_root), *SHORT]
    run = tmp_path / "run"
    assert train([*data, "--backbone", str(tmp_path / "backbone"), "--output", str(run), "--lr", "1e-9"]) in (0, 1)
    assert "from backbone (" in capsys.readouterr().out
    trained = load_network(resolve(run / "model")).backbone.state_dict()
    imported = load_tensors(resolve(tmp_path / "backbone"))
    name = "stages.2.3.branch2.1.0.weight"
    np.testing.assert_allclose(trained[name].numpy(), imported[name], atol=2e-3)  # a trained model is stored in half


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_imported_detector_is_fine_tuned(tmp_path: Path, yolo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CaffeNetwork(1).features().detector(20, COCO_PERCENT).save(tmp_path / "pelee.caffemodel")
    assert main([str(tmp_path / "pelee.caffemodel"), "--output", str(tmp_path / "detector")]) == 0
    data = ["--dataset", "yolo", "--root", str(yolo_root), *SHORT]
    arguments = [*data, "--weights", str(tmp_path / "detector"), "--prior-sizes", "coco"]
    # 1: two steps may find nothing yet, which the command says
    assert train([*arguments, "--output", str(tmp_path / "run")]) in (0, 1)
    assert "from detector (" in capsys.readouterr().out
    assert resolve(tmp_path / "run" / "model").card.architecture_settings["prior_sizes"][0] == 0.07


def test_errors_are_one_line_and_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deploy.prototxt"
    file.write_text(CaffeNetwork(1).features().prototxt())
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    for arguments, message in (
        ([str(tmp_path / "none"), "--output", str(tmp_path / "new")], "no such file"),
        ([str(file), "--output", str(tmp_path / "new")], "prototxt"),
        ([str(file), "--output", str(taken)], "holds something already"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and error.startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deploy.prototxt", "taken"]
