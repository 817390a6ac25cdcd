"""Exports of a small detector: the same answers in every runtime, and nothing handed over that was not checked."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_model import PRIORS, SIZE, pictures, save_small

import detection.export
from data.errors import DatasetError, SettingsError, WeightsError
from data.images import write_image
from detection.detector import Detector
from detection.export import Check, calibrate_on, choose, compare, export_detector
from detection.export_cli import main
from detection.postprocess import KEEP, Prediction
from detection.runtime import Runtime, load_runtime
from pelee.runtime.openvino import import_openvino
from weights.exported import EXPORT_NAME
from weights.store import ModelFile, find_exports, resolve

KINDS = {"onnx": True, "openvino": True, "torchscript": True, "openvino-raw": False, "torchscript-raw": False}
RUNTIMES = [
    ("onnx", "onnxruntime"),
    ("onnx", "openvino"),
    ("openvino", "openvino"),
    ("openvino-raw", "openvino"),
    ("torchscript", "torch"),
    ("torchscript-raw", "torch"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(pictures(6)):
        write_image(folder / f"{number}.png", image)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_small(tmp_path_factory.mktemp("small") / "small")


@pytest.fixture(scope="module")
def exports(model: ModelFile, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFile]:
    """One of each kind; the graph goes to ONNX only once, which takes the longest."""
    import pelee.export

    folder, to_onnx, made = tmp_path_factory.mktemp("exports"), pelee.export._to_onnx, []

    def once(*arguments: object) -> onnx.ModelProto:
        made[:] = made or [to_onnx(*arguments)]  # type: ignore[arg-type]
        copy = onnx.ModelProto()
        copy.CopyFrom(made[0])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pelee.export, "_to_onnx", once)
        check = Check(sorted(photos.iterdir()))
        return {
            kind: export_detector(model, folder / kind, kind.partition("-")[0], check, nms=nms)
            for kind, nms in KINDS.items()
        }


@pytest.fixture(scope="module")
def reference(model: ModelFile) -> Detector:
    return Detector(load_runtime(model, runtime="torch", device="cpu"), model.card)


@pytest.mark.parametrize(("kind", "runtime"), RUNTIMES)
def test_every_runtime_finds_what_torch_finds(
    exports: dict[str, ModelFile], reference: Detector, kind: str, runtime: str
) -> None:
    exported = load_runtime(resolve(exports[kind].path.parent), runtime=runtime, device="cpu")
    assert exported.name.startswith(runtime) and exported.input_size == SIZE
    detector = Detector(exported, exports[kind].card)
    for count in (1, 3):  # the batch is free
        images = list(pictures(count))
        for ours, theirs in zip(detector.predict_batch(images), reference.predict_batch(images), strict=True):
            assert len(ours.scores) == len(theirs.scores) > 10
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
            np.testing.assert_array_equal(ours.labels, theirs.labels)
            np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-2)


@pytest.mark.parametrize("kind", [kind for kind, nms in KINDS.items() if not nms])
def test_without_nms_the_raw_answers_agree(exports: dict[str, ModelFile], reference: Detector, kind: str) -> None:
    images = pictures(2)
    scores, boxes = load_runtime(exports[kind], device="cpu")(images)
    assert scores.shape == (2, PRIORS, 3) and boxes.shape == (2, PRIORS, 4)
    for ours, theirs in zip((scores, boxes), reference.runtime(images), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(("kind", "runtime"), [item for item in RUNTIMES if item[1] != "torch"])
@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_many_in_flight(exports: dict[str, ModelFile], kind: str, runtime: str, mode: str) -> None:
    """More requests than the runtime has room for: each gets its own answer, which no later one overwrites."""
    session: Runtime = load_runtime(exports[kind], runtime=runtime, device="cpu", mode=mode)
    assert session.parallel >= 1
    batches = [pictures(count) for count in (1, 2, 3, 4, 1, 2)]
    futures = [session.submit(images) for images in batches]
    for images, future in zip(batches, futures, strict=True):
        for early, late in zip(future.result(60), session(images), strict=True):
            np.testing.assert_allclose(early, late, atol=1e-5)
            assert early.flags.owndata or early.base is not None
            early[:] = 0  # the caller's own


def test_lower_thresholds_than_the_baked_ones_find_no_more(exports: dict[str, ModelFile], reference: Detector) -> None:
    detector = Detector(load_runtime(exports["onnx"], device="cpu"), exports["onnx"].card)
    (image,) = pictures(1)
    strict, loose = (detector(image, confidence=c, iou=i) for c, i in ((0.4, 0.2), (0.0, 0.9)))
    assert len(strict) == len(reference(image, confidence=0.4, iou=0.2)) < len(loose)
    assert len(loose) == len(reference.predict_batch([image])[0].scores)


def test_models_describe_themselves(exports: dict[str, ModelFile], model: ModelFile) -> None:
    properties = {item.key: item.value for item in onnx.load(exports["onnx"].path).metadata_props}
    extra = {"class_names": "", "card": "", "nms": ""}
    torch.jit.load(str(exports["torchscript"].path), _extra_files=extra)
    network = import_openvino().Core().read_model(exports["openvino"].path)
    info = {key: network.get_rt_info(["pelee", key]).astype(str) for key in extra}
    assert network.get_rt_info(["model_info", "labels"]).astype(str) == "a b c"
    for found in (properties, extra, info):
        texts = {key: value.decode() if isinstance(value, bytes) else value for key, value in found.items()}
        assert json.loads(texts["class_names"]) == ["a", "b", "c"]
        assert json.loads(texts["card"])["sha256"] == model.card.sha256
        assert json.loads(texts["nms"]) is True


def test_names_and_shapes_of_the_graph(exports: dict[str, ModelFile]) -> None:
    graph = onnx.load(exports["onnx"].path).graph
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    keep = min(KEEP, 3 * PRIORS)
    assert shapes == {
        "images": ["N", SIZE, SIZE, 3],
        "boxes": ["N", keep, 4],
        "scores": ["N", keep],
        "classes": ["N", keep],
    }
    network = import_openvino().Core().read_model(exports["openvino"].path)
    assert [output.get_any_name() for output in network.outputs] == ["boxes", "scores", "classes"]
    assert network.inputs[0].partial_shape[0].is_dynamic
    raw = import_openvino().Core().read_model(exports["openvino-raw"].path)
    assert [output.get_any_name() for output in raw.outputs] == ["scores", "boxes"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_files_hold_no_paths_of_the_machine(exports: dict[str, ModelFile], kind: str) -> None:
    here = str(Path(__file__).parents[2]).encode()
    for path in exports[kind].path.parent.iterdir():
        assert here not in path.read_bytes(), path.name


def test_the_report_lies_beside_the_model(exports: dict[str, ModelFile], model: ModelFile) -> None:
    for kind, nms in KINDS.items():
        export = resolve(exports[kind].path.parent).export
        assert export is not None and export == exports[kind].export
        assert (export.nms, export.precision, export.source_sha256) == (nms, "f32", model.card.sha256)
        assert export.verification["agreement"] >= 0.99 and export.verification["pictures"] == 6
        assert export.verification["detections"] >= 20
        assert export.verification["largest_score_difference"] < 1e-3
        assert "torch" in export.versions and ("suppression" in export.settings) == nms


def test_damaged_exports_are_refused(exports: dict[str, ModelFile], tmp_path: Path) -> None:
    for kind, runtime in RUNTIMES:
        folder = tmp_path / f"{kind}-{runtime}"
        shutil.copytree(exports[kind].path.parent, folder)
        path = folder / exports[kind].path.name
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        with pytest.raises(WeightsError, match="SHA-256 is"):
            load_runtime(resolve(folder), runtime=runtime, device="cpu")


def test_a_model_of_other_classes(exports: dict[str, ModelFile], tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(exports["openvino-raw"].path.parent, folder)
    card = json.loads((folder / "card.json").read_text()) | {"class_names": ["a", "b"]}
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="scores of 3 classes, its card names 2"):
        load_runtime(resolve(folder), device="cpu")(pictures(1))


def test_devices_and_precisions_that_are_not_here(
    exports: dict[str, ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, runtime in (("openvino", "openvino"), ("onnx", "onnxruntime")):
        with pytest.raises(SettingsError, match=f"device 'npu7' is not here for the {runtime} runtime"):
            load_runtime(exports[kind], runtime=runtime, device="npu7")
    with pytest.raises(SettingsError, match="onnxruntime runs no bf16"):
        load_runtime(exports["onnx"], runtime="onnxruntime", precision="bf16")
    core = type("Core", (), {"available_devices": ["CPU"], "get_property": lambda *_: ["FP32", "INT8"]})
    monkeypatch.setattr(import_openvino(), "Core", core)
    with pytest.raises(SettingsError, match="CPU has no bfloat16 instructions; take f32 or int8"):
        load_runtime(exports["openvino"], precision="bf16")


def test_int8(
    model: ModelFile, reference: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside its source, in a sub-folder, it becomes the default; coordinates and scores are computed in f32."""
    source = resolve(shutil.copytree(model.path.parent, tmp_path / "small"))
    # Random weights are no detector: what they give at each prior is compared instead of what is found.
    monkeypatch.setitem(detection.export.LIMITS, "int8", detection.export.Limits(0, 0, 100))
    folder = source.path.parent / "openvino-int8"
    made = export_detector(
        source, folder, "openvino", Check(sorted(photos.iterdir())), nms=False, calibration=calibrate_on(photos, SIZE)
    )
    assert made.export is not None and made.export.precision == "int8"
    assert made.export.settings == {"calibration": {"source": photos.name, "pictures": 6}}
    assert [found.path for found in find_exports(source)] == [made.path]
    runtime = load_runtime(source, device="cpu")
    assert runtime.name == "openvino int8 CPU"
    for rough, exact in zip(runtime(pictures(2)), reference.runtime(pictures(2)), strict=True):
        assert 0 < np.abs(rough - exact).max() < 0.15

    operations = import_openvino().Core().read_model(made.path).get_ordered_ops()
    quantized = [op for op in operations if op.get_type_name() == "FakeQuantize"]
    followers = {t.get_node().get_type_name() for op in quantized for t in op.output(0).get_target_inputs()}
    assert followers <= {"Convolution", "Add", "Concat", "AvgPool", "MaxPool", "Relu", "FakeQuantize"}
    weights = [op.input_value(1).get_node().get_type_name() for op in operations if op.get_type_name() == "Convolution"]
    assert weights.count("Constant") == 12 < len(weights) - 40  # the two convolutions of each of six heads stay f32


def test_int8_in_onnx(
    model: ModelFile, reference: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(detection.export.LIMITS, "int8", detection.export.Limits(0, 0, 100))
    calibration = calibrate_on(photos, SIZE)
    check = Check(sorted(photos.iterdir()))
    made = export_detector(model, tmp_path / "out", "onnx", check, nms=False, calibration=calibration)
    nodes = onnx.load(made.path).graph.node
    scaled_back = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    assert sum(node.op_type == "Conv" and node.input[1] not in scaled_back for node in nodes) == 12
    for runtime in ("onnxruntime", "openvino"):
        session = load_runtime(made, runtime=runtime, device="cpu")
        assert session.name.startswith(f"{runtime} int8")
        for rough, exact in zip(session(pictures(3)), reference.runtime(pictures(3)), strict=True):
            assert 0 < np.abs(rough - exact).max() < 0.15


# What follows needs no export to succeed, so it is spared the conversion.


@pytest.fixture
def other_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every export becomes that of another network."""
    stranger = save_small(tmp_path / "stranger", seed=1)
    load = detection.export.load_network
    monkeypatch.setattr(detection.export, "load_network", lambda model: load(stranger))


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
    arguments = ["--weights", str(model.path.parent), "--format", "torchscript", "--pictures", str(photos)]
    assert main([*arguments, "--output", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is not the same detector as its source: share of detections that agree" in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["script"]


def test_command_replaces_an_old_export(
    model: ModelFile, exports: dict[str, ModelFile], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "script"
    shutil.copytree(exports["torchscript"].path.parent, folder)
    arguments = ["--weights", str(model.path.parent), "--format", "torchscript", "--pictures", str(photos), "--no-nms"]
    assert main([*arguments, "--output", str(folder)]) == 0
    output = capsys.readouterr().out
    assert "small as torchscript f32" in output and "agree at IoU 0.95  100.00 %" in output
    export = resolve(folder).export
    assert export is not None and not export.nms
    assert [path.name for path in tmp_path.iterdir()] == ["script"]


def test_command_measures_map(tmp_path: Path, trained_run, voc_root: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    arguments = [
        "--weights",
        str(trained_run.output / "model"),
        "--format",
        "torchscript",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*arguments, "--dataset", "voc", "--root", str(voc_root), "--split", "val"]) == 0
    assert "on voc val: 4 pictures" in capsys.readouterr().out
    verification = json.loads((tmp_path / "out" / EXPORT_NAME).read_text())["verification"]
    assert abs(verification["map_loss"]) <= 0.1 and verification["pictures"] == 4


def test_a_loss_of_map_fails_the_check(
    model: ModelFile,
    photos: Path,
    tmp_path: Path,
    val_set,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    losses = {"map_reference": 40.0, "map": 39.8, "map_loss": 0.2}
    monkeypatch.setattr(detection.export, "measure", lambda *_: losses)
    with pytest.raises(WeightsError, match=r"mAP 0\.20 lower, expected at most 0\.1"):
        export_detector(model, tmp_path / "out", "torchscript", Check(sorted(photos.iterdir()), val_set))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "onnx", "--int8"], "--int8 needs pictures of the training's kind"),
        (["--format", "onnx", "--calibration", "."], "--calibration is for --int8 only"),
        (["--format", "onnx", "--split", "val"], "go with --dataset and --root"),
        (["--format", "torchscript", "--int8", "--calibration", "{photos}"], "torchscript has no int8 here"),
        (["--format", "openvino", "--int8", "--calibration", "{empty}"], "no pictures; looked for"),
        (
            ["--format", "openvino", "--int8", "--calibration", "{empty}/no"],
            "no such folder, expected one with pictures",
        ),
        (["--format", "onnx", "--pictures", "{empty}"], "no pictures; looked for"),
        (["--format", "onnx", "--output", "{photos}", "--pictures", "{photos}"], "holds other files than an export"),
        (["--format", "onnx", "--weights", "{export}", "--pictures", "{photos}"], "is an export already"),
        (
            ["--format", "onnx", "--weights", "peleenet-tiny-imagenet", "--pictures", "{photos}"],
            "expected one for detection",
        ),
    ],
)
def test_requests_that_do_not_fit(
    model: ModelFile,
    exports: dict[str, ModelFile],
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"photos": photos, "empty": tmp_path / "empty", "export": exports["onnx"].path.parent}
    words = [word.format(**places) for word in words]
    before = sorted(path.name for path in photos.iterdir())
    defaults = ["--weights", str(model.path.parent), "--output", str(tmp_path / "out")]
    assert main([*defaults, *words]) == 2  # a later flag wins
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists() and sorted(path.name for path in photos.iterdir()) == before


def test_calibration_takes_the_same_pictures_every_time(photos: Path, val_set) -> None:  # type: ignore[no-untyped-def]
    first, second = (calibrate_on(photos, SIZE, count=3) for _ in range(2))
    assert [a.tolist() for a in first.pictures] == [b.tolist() for b in second.pictures] and len(first.pictures) == 3
    assert all(picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8 for picture in first.pictures)
    paths = [Path(str(number)) for number in range(9)]
    assert choose(paths, 20) == paths and choose(paths, 4) == choose(paths, 4) != paths[:4]
    split = calibrate_on(val_set, SIZE)
    assert split.source == "voc val" and len(split.pictures) == 4
    with pytest.raises(DatasetError):
        calibrate_on(photos / "none", SIZE)


class Fixed:
    """A detector that has one answer."""

    input_size = 100

    def __init__(self, boxes: list, scores: list, labels: list) -> None:
        self.prediction = Prediction(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
        )

    def predict_batch(self, images: list) -> list[Prediction]:
        return [self.prediction for _ in images]


def test_comparison_counts_what_was_computed_by_hand(photos: Path) -> None:
    reference = Fixed([[0, 0, 10, 10], [50, 50, 90, 90], [0, 0, 5, 5]], [0.9, 0.8, 0.7], [0, 1, 2])
    # the first is 1 px wider (IoU 10/11), the second the same with another score, the third of another class
    candidate = Fixed([[0, 0, 11, 10], [50, 50, 90, 90], [0, 0, 5, 5]], [0.9, 0.75, 0.7], [0, 1, 0])
    path = next(iter(sorted(photos.iterdir())))
    report = compare(reference, candidate, [path])  # type: ignore[arg-type]
    # six directed comparisons; the two of the third have no like, or one of IoU 25/100
    assert report["detections"] == 6 and report["pictures"] == 1 and report["confidence"] == 0.3
    assert report["agreement"] == pytest.approx(2 / 6, abs=1e-5)
    assert report["found"] == pytest.approx(4 / 6, abs=1e-5)
    assert report["largest_box_difference"] == 1 and report["mean_box_difference"] == 0.5
    assert report["largest_score_difference"] == pytest.approx(0.05, abs=1e-5)


def test_weak_detections_are_compared_where_there_are_no_strong_ones(photos: Path) -> None:
    boxes = [[number * 5, 0, number * 5 + 4, 10] for number in range(12)]
    weak = Fixed(boxes, [0.2 - number / 100 for number in range(12)], [0] * 12)
    report = compare(weak, weak, sorted(photos.iterdir())[:1])  # type: ignore[arg-type]
    assert report["confidence"] == pytest.approx(0.11) and report["detections"] == 20 and report["agreement"] == 1
    with pytest.raises(WeightsError, match="finds nothing in 1 pictures to compare"):
        compare(Fixed([], [], []), weak, sorted(photos.iterdir())[:1])  # type: ignore[arg-type]
