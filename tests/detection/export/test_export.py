"""Exports of a small detector: the same answers in every runtime, and nothing handed over that was not checked."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from data.errors import SettingsError, WeightsError
from detection.detector import Detector
from detection.export import verification
from detection.export.export import export_detector
from detection.export.verification import DetectorCheck
from detection.inference.detection_session import DetectionSession, load_runtime
from detection.inference.thresholds import DETECTIONS_PER_IMAGE
from pelee.export.calibration import calibrate_on
from pelee.runtime.openvino_session import import_openvino, open_core
from pelee.runtime.session import RuntimeOptions
from tests.support.paths import ROOT
from tests.support.tiny_detector import PRIORS, SIZE, pictures, save_pictures, save_small
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
    return save_pictures(tmp_path_factory.mktemp("photos"), 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_small(tmp_path_factory.mktemp("small") / "small")


@pytest.fixture(scope="module")
def exports(model: ModelFile, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFile]:
    """One of each kind; the graph goes to ONNX only once, which takes the longest."""
    import pelee.export.formats

    folder, to_onnx, made = tmp_path_factory.mktemp("exports"), pelee.export.formats._to_onnx, []

    def once(*arguments: object) -> onnx.ModelProto:
        made[:] = made or [to_onnx(*arguments)]  # type: ignore[arg-type]
        copy = onnx.ModelProto()
        copy.CopyFrom(made[0])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pelee.export.formats, "_to_onnx", once)
        check = DetectorCheck(sorted(photos.iterdir()))
        return {
            kind: export_detector(model, folder / kind, kind.partition("-")[0], check, nms=nms)
            for kind, nms in KINDS.items()
        }


@pytest.fixture(scope="module")
def reference(model: ModelFile) -> Detector:
    return Detector(load_runtime(model, RuntimeOptions(runtime="torch", device="cpu")), model.card)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "runtime"), RUNTIMES)
def test_every_runtime_finds_what_torch_finds(
    exports: dict[str, ModelFile], reference: Detector, kind: str, runtime: str
) -> None:
    exported = load_runtime(resolve(exports[kind].path.parent), RuntimeOptions(runtime=runtime, device="cpu"))
    assert exported.name.startswith(runtime) and exported.input_size == SIZE
    detector = Detector(exported, exports[kind].card)
    for count in (1, 3):  # the batch is free
        images = list(pictures(count))
        for ours, theirs in zip(detector.predict_batch(images), reference.predict_batch(images), strict=True):
            assert len(ours.scores) == len(theirs.scores) > 10
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
            np.testing.assert_array_equal(ours.labels, theirs.labels)
            np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind, nms in KINDS.items() if not nms])
def test_without_nms_the_raw_answers_agree(exports: dict[str, ModelFile], reference: Detector, kind: str) -> None:
    images = pictures(2)
    scores, boxes = load_runtime(exports[kind], RuntimeOptions(device="cpu"))(images)
    assert scores.shape == (2, PRIORS, 3) and boxes.shape == (2, PRIORS, 4)
    for ours, theirs in zip((scores, boxes), reference.runtime(images), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "runtime"), [item for item in RUNTIMES if item[1] != "torch"])
@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_many_in_flight(exports: dict[str, ModelFile], kind: str, runtime: str, mode: str) -> None:
    """More requests than the runtime has room for: each gets its own answer, which no later one overwrites."""
    session: DetectionSession = load_runtime(exports[kind], RuntimeOptions(runtime=runtime, device="cpu", mode=mode))
    assert session.parallel >= 1
    batches = [pictures(count) for count in (1, 2, 3, 4, 1, 2)]
    futures = [session.submit(images) for images in batches]
    for images, future in zip(batches, futures, strict=True):
        for early, late in zip(future.result(60), session(images), strict=True):
            np.testing.assert_allclose(early, late, atol=1e-5)
            assert early.flags.owndata or early.base is not None
            early[:] = 0  # the caller's own


@pytest.mark.slow
def test_lower_thresholds_than_the_baked_ones_find_no_more(exports: dict[str, ModelFile], reference: Detector) -> None:
    detector = Detector(load_runtime(exports["onnx"], RuntimeOptions(device="cpu")), exports["onnx"].card)
    (image,) = pictures(1)
    strict, loose = (detector(image, confidence=c, iou=i) for c, i in ((0.4, 0.2), (0.0, 0.9)))
    assert len(strict) == len(reference(image, confidence=0.4, iou=0.2)) < len(loose)
    assert len(loose) == len(reference.predict_batch([image])[0].scores)


@pytest.mark.slow
def test_models_describe_themselves(exports: dict[str, ModelFile], model: ModelFile) -> None:
    properties = {item.key: item.value for item in onnx.load(exports["onnx"].path).metadata_props}
    extra = {"class_names": "", "card": "", "nms": ""}
    torch.jit.load(str(exports["torchscript"].path), _extra_files=extra)
    network = open_core().read_model(exports["openvino"].path)
    info = {key: network.get_rt_info(["pelee", key]).astype(str) for key in extra}
    assert network.get_rt_info(["model_info", "labels"]).astype(str) == "a b c"
    for found in (properties, extra, info):
        texts = {key: value.decode() if isinstance(value, bytes) else value for key, value in found.items()}
        assert json.loads(texts["class_names"]) == ["a", "b", "c"]
        assert json.loads(texts["card"])["sha256"] == model.card.sha256
        assert json.loads(texts["nms"]) is True


@pytest.mark.slow
def test_names_and_shapes_of_the_graph(exports: dict[str, ModelFile]) -> None:
    graph = onnx.load(exports["onnx"].path).graph
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    keep = min(DETECTIONS_PER_IMAGE, 3 * PRIORS)
    assert shapes == {
        "images": ["N", SIZE, SIZE, 3],
        "boxes": ["N", keep, 4],
        "scores": ["N", keep],
        "classes": ["N", keep],
    }
    network = open_core().read_model(exports["openvino"].path)
    assert [output.get_any_name() for output in network.outputs] == ["boxes", "scores", "classes"]
    assert network.inputs[0].partial_shape[0].is_dynamic
    raw = open_core().read_model(exports["openvino-raw"].path)
    assert [output.get_any_name() for output in raw.outputs] == ["scores", "boxes"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_files_hold_no_paths_of_the_machine(exports: dict[str, ModelFile], kind: str) -> None:
    here = str(ROOT).encode()
    for path in exports[kind].path.parent.iterdir():
        assert here not in path.read_bytes(), path.name


@pytest.mark.slow
def test_the_report_lies_beside_the_model(exports: dict[str, ModelFile], model: ModelFile) -> None:
    for kind, nms in KINDS.items():
        export = resolve(exports[kind].path.parent).export
        assert export is not None and export == exports[kind].export
        assert (export.nms, export.precision, export.source_sha256) == (nms, "f32", model.card.sha256)
        assert export.verification["agreement"] >= 0.99 and export.verification["pictures"] == 6
        assert export.verification["detections"] >= 20
        assert export.verification["largest_score_difference"] < 1e-3
        assert "torch" in export.versions and ("suppression" in export.settings) == nms


@pytest.mark.slow
def test_damaged_exports_are_refused(exports: dict[str, ModelFile], tmp_path: Path) -> None:
    for kind, runtime in RUNTIMES:
        folder = tmp_path / f"{kind}-{runtime}"
        shutil.copytree(exports[kind].path.parent, folder)
        path = folder / exports[kind].path.name
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        with pytest.raises(WeightsError, match="SHA-256 is"):
            load_runtime(resolve(folder), RuntimeOptions(runtime=runtime, device="cpu"))


@pytest.mark.slow
def test_a_model_of_other_classes(exports: dict[str, ModelFile], tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(exports["openvino-raw"].path.parent, folder)
    card = json.loads((folder / "card.json").read_text()) | {"class_names": ["a", "b"]}
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="scores of 3 classes, its card names 2"):
        load_runtime(resolve(folder), RuntimeOptions(device="cpu"))(pictures(1))


@pytest.mark.slow
def test_devices_and_precisions_that_are_not_here(
    exports: dict[str, ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, runtime in (("openvino", "openvino"), ("onnx", "onnxruntime")):
        with pytest.raises(SettingsError, match=f"device 'npu7' is not here for the {runtime} runtime"):
            load_runtime(exports[kind], RuntimeOptions(runtime=runtime, device="npu7"))
    with pytest.raises(SettingsError, match="onnxruntime runs no bf16"):
        load_runtime(exports["onnx"], RuntimeOptions(runtime="onnxruntime", precision="bf16"))
    core = type("Core", (), {"available_devices": ["CPU"], "get_property": lambda *_: ["FP32", "INT8"]})
    monkeypatch.setattr(import_openvino(), "Core", core)
    with pytest.raises(SettingsError, match="CPU has no bfloat16 instructions; take f32 or int8"):
        load_runtime(exports["openvino"], RuntimeOptions(precision="bf16"))


@pytest.mark.slow
def test_int8(
    model: ModelFile, reference: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside its source, in a sub-folder, it becomes the default; coordinates and scores are computed in f32."""
    source = resolve(shutil.copytree(model.path.parent, tmp_path / "small"))
    # Random weights are no detector: what they give at each prior is compared instead of what is found.
    monkeypatch.setitem(verification.LIMITS, "int8", verification.DetectorLimits(0, 0, 100))
    folder = source.path.parent / "openvino-int8"
    made = export_detector(
        source,
        folder,
        "openvino",
        DetectorCheck(sorted(photos.iterdir())),
        nms=False,
        calibration=calibrate_on(photos, SIZE),
    )
    assert made.export is not None and made.export.precision == "int8"
    assert made.export.settings == {"calibration": {"source": photos.name, "pictures": 6}}
    assert [found.path for found in find_exports(source)] == [made.path]
    runtime = load_runtime(source, RuntimeOptions(device="cpu"))
    assert runtime.name == "openvino int8 CPU"
    for rough, exact in zip(runtime(pictures(2)), reference.runtime(pictures(2)), strict=True):
        assert 0 < np.abs(rough - exact).max() < 0.15

    operations = open_core().read_model(made.path).get_ordered_ops()
    quantized = [op for op in operations if op.get_type_name() == "FakeQuantize"]
    followers = {t.get_node().get_type_name() for op in quantized for t in op.output(0).get_target_inputs()}
    assert followers <= {"Convolution", "Add", "Concat", "AvgPool", "MaxPool", "Relu", "FakeQuantize"}
    weights = [op.input_value(1).get_node().get_type_name() for op in operations if op.get_type_name() == "Convolution"]
    assert weights.count("Constant") == 12 < len(weights) - 40  # the two convolutions of each of six heads stay f32


@pytest.mark.slow
def test_int8_in_onnx(
    model: ModelFile, reference: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(verification.LIMITS, "int8", verification.DetectorLimits(0, 0, 100))
    calibration = calibrate_on(photos, SIZE)
    check = DetectorCheck(sorted(photos.iterdir()))
    made = export_detector(model, tmp_path / "out", "onnx", check, nms=False, calibration=calibration)
    nodes = onnx.load(made.path).graph.node
    scaled_back = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    assert sum(node.op_type == "Conv" and node.input[1] not in scaled_back for node in nodes) == 12
    for runtime in ("onnxruntime", "openvino"):
        session = load_runtime(made, RuntimeOptions(runtime=runtime, device="cpu"))
        assert session.name.startswith(f"{runtime} int8")
        for rough, exact in zip(session(pictures(3)), reference.runtime(pictures(3)), strict=True):
            assert 0 < np.abs(rough - exact).max() < 0.15
