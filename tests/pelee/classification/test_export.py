"""Exports of a small classifier, and pelee-export with it: the same answers everywhere, or nothing handed over."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import pelee.classification.export
import pelee.export.formats
from data.classification.image_folder import open_image_folder
from data.errors import SettingsError, WeightsError
from data.images.image_io import write_image
from detection.commands.export import main
from pelee.classification.classifier import Classifier, load_session
from pelee.classification.export import ClassifierCheck, ClassifierLimits, compare, export_classifier, measure
from pelee.export.calibration import calibrate_on
from pelee.runtime.openvino_session import open_core
from tests.support.lookup_classifier import LookupSession, card, gray_image, save_toy
from tests.support.tiny_classifier import NAMES, SIZE, make_images, save_images, save_small
from weights.export_manifest import EXPORT_NAME
from weights.store import ModelFile, find_exports, resolve

RUNTIMES = [("onnx", "onnxruntime"), ("onnx", "openvino"), ("openvino", "openvino"), ("torchscript", "torch")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_images(tmp_path_factory.mktemp("photos"), 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_small(tmp_path_factory.mktemp("small") / "small")


@pytest.fixture(scope="module", autouse=True)
def convert_once() -> Iterator[None]:
    """All ONNX here is of the one small model, and its graph takes the longest to write."""
    to_onnx, made = pelee.export.formats._to_onnx, []

    def once(*arguments: object) -> onnx.ModelProto:
        made[:] = made or [to_onnx(*arguments)]  # type: ignore[arg-type]
        copy = onnx.ModelProto()
        copy.CopyFrom(made[0])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pelee.export.formats, "_to_onnx", once)
        yield


@pytest.fixture(scope="module")
def exports(model: ModelFile, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFile]:
    folder, check = tmp_path_factory.mktemp("exports"), ClassifierCheck(sorted(photos.iterdir()))
    return {form: export_classifier(model, folder / form, form, check) for form in ("onnx", "openvino", "torchscript")}


@pytest.fixture(scope="module")
def reference(model: ModelFile) -> Classifier:
    return Classifier(load_session(model, runtime="torch", device="cpu", precision="f32"), model.card)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the small model's classes, with a picture of each in `train` and in `val`."""
    folder = tmp_path_factory.mktemp("data") / "sevens"
    for label, name in enumerate(NAMES):
        for split in ("train", "val"):
            write_image(folder / split / name / "0.png", make_images(7)[label])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("form", "runtime"), RUNTIMES)
def test_every_runtime_says_what_torch_says(
    exports: dict[str, ModelFile], reference: Classifier, form: str, runtime: str
) -> None:
    classifier = Classifier.load(exports[form].path.parent, runtime=runtime, device="cpu")
    assert classifier.runtime.startswith(f"{runtime} f32") and classifier.input_size == SIZE
    for count in (1, 3):  # the batch is free
        images = list(make_images(count))
        for ours, theirs in zip(classifier(images), reference(images), strict=True):
            np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-5)
            assert ours.probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_models_describe_themselves(exports: dict[str, ModelFile], model: ModelFile) -> None:
    graph = onnx.load(exports["onnx"].path)
    properties = {item.key: item.value for item in graph.metadata_props}
    extra = {"class_names": "", "card": "", "nms": ""}
    torch.jit.load(str(exports["torchscript"].path), _extra_files=extra)
    network = open_core().read_model(exports["openvino"].path)
    info = {key: network.get_rt_info(["pelee", key]).astype(str) for key in extra}
    for found in (properties, extra, info):
        texts = {key: value.decode() if isinstance(value, bytes) else value for key, value in found.items()}
        assert json.loads(texts["class_names"]) == NAMES
        assert json.loads(texts["card"])["sha256"] == model.card.sha256
        assert json.loads(texts["nms"]) is False
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {"images": ["N", SIZE, SIZE, 3], "probabilities": ["N", len(NAMES)]}
    assert network.inputs[0].partial_shape[0].is_dynamic and network.outputs[0].get_any_name() == "probabilities"


@pytest.mark.slow
def test_the_report_lies_beside_the_model(exports: dict[str, ModelFile], model: ModelFile) -> None:
    for form, made in exports.items():
        export = resolve(made.path.parent).export
        assert export is not None and export == made.export
        assert (export.format, export.precision, export.nms) == (form, "f32", False)
        assert export.source_sha256 == model.card.sha256
        found = export.verification
        assert found["agreement"] == 1 and found["pictures"] == 6 and found["reference"] == "torch f32 cpu"
        assert found["mean_probability_difference"] <= found["largest_probability_difference"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("form", "runtime"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_int8(
    form: str,
    runtime: str,
    model: ModelFile,
    reference: Classifier,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside its source, in a sub-folder, it becomes the default; the last matrix product stays in f32."""
    source = resolve(shutil.copytree(model.path.parent, tmp_path / "small"))
    # Random weights are no classifier: their probabilities are compared instead of what they say.
    monkeypatch.setitem(pelee.classification.export.LIMITS, "int8", ClassifierLimits(0, 1, 100))
    check, calibration = ClassifierCheck(sorted(photos.iterdir())), calibrate_on(photos, SIZE)
    made = export_classifier(source, source.path.parent / "int8", form, check, calibration=calibration)
    assert made.export is not None and made.export.precision == "int8"
    assert made.export.settings == {"calibration": {"source": photos.name, "pictures": 6}}
    assert [found.path for found in find_exports(source)] == [made.path]
    classifier = Classifier.load(source.path.parent, device="cpu")
    assert classifier.runtime.lower() == f"{runtime} int8 cpu"
    differences = [
        np.abs(ours.probabilities - theirs.probabilities).max()
        for ours, theirs in zip(classifier(list(make_images(6))), reference(list(make_images(6))), strict=True)
    ]
    assert 0 < max(differences) < 0.3
    if form == "onnx":
        nodes = onnx.load(made.path).graph.node
        scaled_back = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
        weighted = [node for node in nodes if node.op_type in ("Conv", "Gemm", "MatMul")]
        assert [node.op_type for node in weighted if node.input[1] not in scaled_back] == [weighted[-1].op_type]
        assert weighted[-1].op_type != "Conv" and len(weighted) > 20


@pytest.fixture
def other_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every export becomes that of another network."""
    stranger = save_small(tmp_path / "stranger", seed=1)
    load = pelee.classification.export.load_network
    monkeypatch.setattr(pelee.classification.export, "load_network", lambda model: load(stranger))


@pytest.mark.slow
def test_a_failed_check_keeps_the_old_export(
    other_model: None,
    model: ModelFile,
    exports: dict[str, ModelFile],
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "out" / "script"
    shutil.copytree(exports["torchscript"].path.parent, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    arguments = ["--weights", str(model.path.parent), "--format", "torchscript", "--images", str(photos)]
    assert main([*arguments, "--output", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is not the same classifier as its source: " in error
    assert "mean difference of probabilities" in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["script"]


@pytest.mark.slow
def test_command_measures_top1_and_top5(
    model: ModelFile, root: Path, reference: Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [reference(image).best.class_id for image in make_images(7)]
    top1 = round(100 * np.mean(np.array(said) == np.arange(7)), 5)
    arguments = ["--weights", str(model.path.parent), "--format", "torchscript", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--dataset", "imagefolder", "--root", str(root), "--split", "val"]) == 0
    output = capsys.readouterr().out
    assert "small as torchscript f32" in output and "same first class  100.00 %" in output
    assert f"top-1 {top1:.2f} -> {top1:.2f}, top-5 " in output and "on sevens val: 7 images" in output
    found = json.loads((tmp_path / "out" / EXPORT_NAME).read_text())["verification"]
    assert (found["top1"], found["top1_reference"], found["top1_loss"]) == (top1, top1, 0)
    assert found["top5_loss"] == 0 and found["pictures"] == 7


@pytest.mark.slow
def test_a_loss_of_top1_fails_the_check(
    model: ModelFile, photos: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pelee.classification.export, "measure", lambda *_: {"top1_loss": 0.2})
    check = ClassifierCheck(sorted(photos.iterdir()), open_image_folder("imagefolder", root, "val"))
    with pytest.raises(WeightsError, match=r"top-1 0\.20 lower, expected at most 0\.1; nothing written"):
        export_classifier(model, tmp_path / "out", "torchscript", check)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--no-nms"], "--no-nms is for detectors, and small is a classifier"),
        (["--dataset", "voc", "--root", "{root}", "--split", "val"], "unknown layout 'voc'; expected one of"),
        (["--dataset", "imagefolder", "--root", "{root}", "--split", "test"], "no split 'test'"),
        (
            ["--dataset", "imagefolder", "--root", "{other}", "--split", "val"],
            "the model knows 7 classes, the data set",
        ),
        (["--int8", "--calibration", "{empty}"], "no images; looked for"),
        (["--int8", "--dataset", "imagefolder", "--root", "{root}", "--calibration-split", "no"], "no split 'no'"),
        (["--format", "torchscript", "--int8", "--calibration", "{photos}"], "torchscript has no int8 here"),
        (["--weights", "{export}"], "is an export already"),
        (["--output", "{photos}"], "holds other files than an export"),
        (["--images", "{empty}"], "no images; looked for"),
    ],
)
def test_requests_that_do_not_fit(
    words: list[str],
    message: str,
    model: ModelFile,
    exports: dict[str, ModelFile],
    photos: Path,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    gray_image(tmp_path / "other" / "val" / "ant" / "0.png", 0)
    places = {"photos": photos, "root": root, "empty": tmp_path / "empty", "other": tmp_path / "other"}
    words = [word.format(**places, export=exports["onnx"].path.parent) for word in words]
    before = sorted(path.name for path in photos.iterdir())
    defaults = ["--weights", str(model.path.parent), "--format", "onnx", "--output", str(tmp_path / "out")]
    assert main([*defaults, *words]) == 2  # a later flag wins
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists() and sorted(path.name for path in photos.iterdir()) == before


def test_a_model_for_another_task_and_no_pictures(model: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="toy: a model for detection, expected one for classification"):
        toy = resolve(save_toy(tmp_path / "toy", ["ant"], task="detection"))
        export_classifier(toy, tmp_path / "out", "onnx", ClassifierCheck([tmp_path / "0.png"]))
    with pytest.raises(SettingsError, match="no images to verify the export on"):
        export_classifier(model, tmp_path / "out", "onnx", ClassifierCheck([]))


def test_comparison_and_scores_are_those_computed_by_hand(tmp_path: Path) -> None:
    names = ["ant", "bee"]
    ours = Classifier(LookupSession(np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])), card(names))
    theirs = Classifier(LookupSession(np.array([[0.75, 0.25], [0.5, 0.5], [0.375, 0.625]])), card(names))
    folder = tmp_path / "greys"
    for name, value in (("ant/0.png", 0), ("ant/2.png", 2), ("bee/1.png", 1)):
        gray_image(folder / "val" / name, value)
    assert compare(ours, theirs, sorted(folder.rglob("*.png"))) == {
        "pictures": 3,
        "agreement": pytest.approx(1 / 3, abs=1e-5),  # of two that are equal the first counts
        "largest_probability_difference": 0.25,
        "mean_probability_difference": 0.125,
    }
    assert measure(ours, theirs, open_image_folder("imagefolder", folder, "val")) == {
        "split": "greys val: 3 images",
        "top1_reference": 100.0,
        "top1": pytest.approx(100 / 3, abs=1e-5),
        "top1_loss": pytest.approx(200 / 3, abs=1e-5),
    }
