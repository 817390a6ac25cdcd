"""pelee-export with a small detector: what is checked, what is kept where a check fails, what is refused."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import detection.export.export
import detection.export.verification
from data.datasets.records import Dataset
from data.errors import DatasetError, WeightsError
from detection.commands.detect import main as detect
from detection.commands.export import _images, build_parser, main
from detection.export.export import export_detector
from detection.export.verification import DetectorCheck
from pelee.export.calibration import calibrate_on, choose
from tests.support.tiny_detector import SIZE, save_pictures, save_small
from weights.export_manifest import EXPORT_NAME
from weights.store import ModelFile, resolve


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("photos"), 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_small(tmp_path_factory.mktemp("small") / "small")


@pytest.fixture(scope="module")
def script(model: ModelFile, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an export in TorchScript, the quickest to make."""
    folder = tmp_path_factory.mktemp("exports") / "script"
    export_detector(model, folder, "torchscript", DetectorCheck(sorted(photos.iterdir())), nms=False)
    return folder


@pytest.fixture
def other_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every export becomes that of another network."""
    stranger = save_small(tmp_path / "stranger", seed=1)
    load = detection.export.export.load_network
    monkeypatch.setattr(detection.export.export, "load_network", lambda model: load(stranger))


@pytest.mark.slow
def test_a_failed_check_keeps_the_old_export(
    other_model: None,
    model: ModelFile,
    script: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "out" / "script"
    shutil.copytree(script, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    arguments = ["--weights", str(model.path.parent), "--format", "torchscript", "--images", str(photos)]
    assert main([*arguments, "--output", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is not the same detector as its source: share of detections that agree" in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["script"]


@pytest.mark.slow
def test_command_replaces_an_old_export(
    model: ModelFile, script: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "script"
    shutil.copytree(script, folder)
    arguments = ["--weights", str(model.path.parent), "--format", "torchscript", "--images", str(photos)]
    assert main([*arguments, "--output", str(folder)]) == 0
    output = capsys.readouterr().out
    assert "small as torchscript f32" in output and "agree at IoU 0.95  100.00 %" in output
    export = resolve(folder).export
    assert export is not None and export.nms
    assert [path.name for path in tmp_path.iterdir()] == ["script"]


@pytest.mark.slow
def test_command_measures_map(tmp_path: Path, trained_run, voc_root: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    arguments = [
        "--weights",
        str(trained_run.output / "model"),
        "--format",
        "torchscript",
        "--output",
        str(tmp_path / "out"),
        "--no-nms",
    ]
    assert main([*arguments, "--dataset", "voc", "--root", str(voc_root), "--split", "val"]) == 0
    assert "on voc val: 4 images" in capsys.readouterr().out
    export = json.loads((tmp_path / "out" / EXPORT_NAME).read_text())
    verification = export["verification"]
    assert export["nms"] is False
    assert abs(verification["map_loss"]) <= 0.1 and verification["pictures"] == 4


@pytest.mark.slow
def test_a_loss_of_map_fails_the_check(
    model: ModelFile,
    photos: Path,
    tmp_path: Path,
    val_set: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = {"map_reference": 40.0, "map": 39.8, "map_loss": 0.2}
    monkeypatch.setattr(detection.export.verification, "measure", lambda *_: losses)
    with pytest.raises(WeightsError, match=r"mAP 0\.20 lower, expected at most 0\.1"):
        export_detector(model, tmp_path / "out", "torchscript", DetectorCheck(sorted(photos.iterdir()), val_set))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "onnx", "--int8"], "--int8 needs images like those of the training"),
        (["--format", "onnx", "--calibration", "."], "--calibration is for --int8 only"),
        (["--format", "onnx", "--split", "val"], "go with --dataset and --root"),
        (["--format", "torchscript", "--int8", "--calibration", "{photos}"], "torchscript has no int8 here"),
        (["--format", "openvino", "--int8", "--calibration", "{empty}"], "no images; looked for"),
        (
            ["--format", "openvino", "--int8", "--calibration", "{empty}/no"],
            "no such folder, expected one with images",
        ),
        (["--format", "onnx", "--images", "{empty}"], "no images; looked for"),
        (["--format", "onnx", "--output", "{photos}", "--images", "{photos}"], "holds other files than an export"),
        (["--format", "onnx", "--weights", "{export}", "--images", "{photos}"], "is an export already"),
        (
            ["--format", "onnx", "--dataset", "tiny-imagenet", "--root", "{photos}", "--split", "val"],
            "unknown dataset format 'tiny-imagenet'; there are voc",
        ),
    ],
)
def test_requests_that_do_not_fit(
    model: ModelFile,
    script: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"photos": photos, "empty": tmp_path / "empty", "export": script}
    words = [word.format(**places) for word in words]
    before = sorted(path.name for path in photos.iterdir())
    defaults = ["--weights", str(model.path.parent), "--output", str(tmp_path / "out")]
    assert main([*defaults, *words]) == 2  # a later flag wins
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists() and sorted(path.name for path in photos.iterdir()) == before


def test_a_classifier_is_no_detector(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="peleenet-tiny-imagenet: a model for classification, expected one for det"):
        export_detector(
            resolve("peleenet-tiny-imagenet"), tmp_path / "out", "onnx", DetectorCheck(sorted(photos.iterdir()))
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "change", "words", "message"),
    [
        ("export.json", {"format_version": 2}, [], "'format_version' is 2, this program reads 1: use the version"),
        ("card.json", {"input_size": 96}, [], "exported for an input of 64 pixels, its card says 96"),
        ("card.json", {"class_names": ["a", "b"]}, [], "scores of 3 classes, its card names 2"),
        ("card.json", {}, ["--runtime", "openvino"], "a model for torchscript in f32, not for openvino"),
    ],
)
def test_an_export_that_does_not_fit_ends_a_command(
    file: str,
    change: dict[str, object],
    words: list[str],
    message: str,
    script: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, output = shutil.copytree(script, tmp_path / "script"), tmp_path / "out"
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    assert detect([str(photos / "0.png"), "--weights", str(folder), "--output", str(output), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not output.exists() or not list(output.iterdir())


def test_calibration_takes_the_same_images_every_time(photos: Path, val_set: Dataset) -> None:
    first, second = (calibrate_on(photos, SIZE, count=3) for _ in range(2))
    assert [a.tolist() for a in first.images] == [b.tolist() for b in second.images] and len(first.images) == 3
    assert all(picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8 for picture in first.images)
    paths = [Path(str(number)) for number in range(9)]
    assert choose(paths, 20) == paths and choose(paths, 4) == choose(paths, 4) != paths[:4]
    assert first.source == photos.name
    split = calibrate_on([record.image for record in val_set.records], SIZE, "voc val")
    assert split.source == "voc val" and len(split.images) == 4
    with pytest.raises(DatasetError):
        calibrate_on(photos / "none", SIZE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "litert"], "litert has no non-maximum suppression in its graph; add --no-nms"),
        (["--format", "ncnn", "--no-nms", "--int8", "--calibration", "."], "ncnn has no int8 here"),
    ],
)
def test_what_a_format_lacks_is_an_error_before_anything_is_imported(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("detection.export.export", "pelee.export.calibration"):
        monkeypatch.setitem(sys.modules, module, None)  # cannot be imported
    assert main(["--weights", "pelee-voc", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("form", "extra"), [("onnx", "export"), ("litert", "litert"), ("ncnn", "ncnn")])
def test_without_pytorch_the_error_names_the_extra_of_the_format(
    form: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "detection.export.export")
    assert main(["--weights", "pelee-voc", "--format", form, "--no-nms"]) == 2
    assert f"pip install 'pelee[{extra}]'" in capsys.readouterr().err


def test_a_trained_model_is_verified_on_the_images_that_its_training_was_validated_on(
    yolo_root: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    source = SimpleNamespace(path=run / "model" / "weights.safetensors", card=SimpleNamespace(task="detection"))
    options = build_parser().parse_args(["--format", "onnx"])

    def names() -> list[str]:
        return sorted(Path(str(image)).name for image in _images(options, source))  # type: ignore[arg-type]

    samples = names()  # without a record
    record = {
        "command": f"pelee-train --dataset yolo --root {yolo_root.name} --epochs 3",
        "folder": str(yolo_root.parent),
    }
    (run / "run.json").write_text(json.dumps({**record, "settings": {"val_split": "val"}}))
    own = names()
    assert own == sorted(path.name for path in (yolo_root / "images" / "val").iterdir()) != samples
    changes: tuple[dict[str, object], ...] = (
        {"folder": str(tmp_path)},
        {"command": "pelee-train-classifier --root x"},
        {"settings": {}},
    )
    for changed in changes:
        (run / "run.json").write_text(json.dumps({**record, "settings": {"val_split": "val"}, **changed}))
        assert names() == samples
    options.images = yolo_root / "images" / "train"
    assert names() == sorted(path.name for path in options.images.iterdir())
