"""pelee-import: a folder that detects and trains on, and errors in one line that leave nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.datasets.voc import CLASS_NAMES
from detection.commands.import_ import main
from detection.commands.train import main as train
from detection.detector import Detector
from detection.models.loading import load_network
from tests.support.documentation import SHORT
from tests.support.paths import ROOT
from tests.support.published_weights import COCO_PERCENT, CaffeNetwork, checkpoint
from weights.store import find_exports, load_tensors, resolve

SAMPLES = ROOT / "data" / "samples"


@pytest.mark.slow
def test_caffe_detector_becomes_a_model_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "pelee.caffemodel", tmp_path / "pelee-mine"
    CaffeNetwork(1).features().detector(20, COCO_PERCENT).save(file)
    assert main([str(file), "--output", str(folder), "--calibration", str(SAMPLES)]) == 0
    out = capsys.readouterr().out
    assert "20 classes (VOC's names)" in out and "exported to OpenVINO f32 and int8" in out
    model = resolve(folder)
    assert model.card.name == "pelee-mine" and model.card.class_names == list(CLASS_NAMES)
    found = {export.export.precision for export in find_exports(model) if export.export}
    assert found == {"f32", "int8"}
    assert "int8" in Detector.load(folder).runtime.name
    image = SAMPLES / "chelsea.jpg"
    exact = [
        Detector.load(folder, runtime=name, precision="f32", confidence=0.2)(image) for name in ("torch", "openvino")
    ]
    assert len(exact[0]) > 0
    np.testing.assert_allclose(exact[0].xyxy, exact[1].xyxy, atol=0.5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_imported_backbone_and_detector_are_trained_on(
    tmp_path: Path, yolo_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(checkpoint(1), tmp_path / "peleenet.pth.tar")
    assert main([str(tmp_path / "peleenet.pth.tar"), "--output", str(tmp_path / "backbone")]) == 0
    CaffeNetwork(1).features().detector(20, COCO_PERCENT).save(tmp_path / "pelee.caffemodel")
    assert main([str(tmp_path / "pelee.caffemodel"), "--output", str(tmp_path / "detector")]) == 0
    data = ["--dataset", "yolo", "--root", str(yolo_root), *SHORT]
    runs = tmp_path / "runs"
    assert train([*data, "--backbone", str(tmp_path / "backbone"), "--output", str(runs / "a"), "--lr", "0"]) == 0
    fine_tuned = [*data, "--weights", str(tmp_path / "detector"), "--prior-sizes", "coco", "--output", str(runs / "b")]
    assert train(fine_tuned) in (0, 1)  # 1: two steps find nothing yet, which the command says
    assert "from peleenet.pth.tar" not in capsys.readouterr().err
    backbone = load_network(resolve(runs / "a" / "model")).backbone.state_dict()
    imported = load_tensors(resolve(tmp_path / "backbone"))
    name = "stages.2.3.branch2.1.0.weight"
    np.testing.assert_allclose(backbone[name].numpy(), imported[name], atol=2e-3)  # a trained model is stored in half


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
