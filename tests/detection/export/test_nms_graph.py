"""NMS in exported graphs gives the results of `detection.inference.nms`, in every runtime."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from detection.export.nms_graph import ScriptedSuppression, append_nms
from detection.inference.nms import postprocess
from detection.inference.options import DetectionOptions
from detection.inference.thresholds import DETECTIONS_PER_IMAGE, SCORE_THRESHOLD
from pelee.runtime.openvino_session import open_core

PRIORS, CLASSES = 600, 3
Arrays = list[np.ndarray]


def identity_network(priors: int = PRIORS, classes: int = CLASSES) -> onnx.ModelProto:
    """An ONNX graph of identities with the outputs of a detector: scores (N, P, C) and boxes (N, P, 4)."""
    scores, boxes = (["N", priors, last] for last in (classes, 4))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_in"], [name]) for name in ("scores", "boxes")],
        "identity",
        [value(f"{name}_in", TensorProto.FLOAT, shape) for name, shape in (("scores", scores), ("boxes", boxes))],
        [value(name, TensorProto.FLOAT, shape) for name, shape in (("scores", scores), ("boxes", boxes))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def in_onnxruntime(model: onnx.ModelProto) -> Callable[[Arrays], Arrays]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def in_openvino(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Arrays], Arrays]:
    path = tmp_path_factory.mktemp("suppression") / "model.onnx"
    onnx.save(model, path)
    core = open_core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda arrays: [np.array(output) for output in compiled(arrays).values()]


@pytest.fixture(scope="module", params=["onnxruntime", "openvino", "torchscript"])
def run_nms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Arrays], Arrays]:
    if request.param == "torchscript":
        scripted = torch.jit.script(ScriptedSuppression())
        return lambda arrays: [output.numpy() for output in scripted(*map(torch.from_numpy, arrays))]
    model = append_nms(identity_network())
    onnx.checker.check_model(model, full_check=True)
    return in_onnxruntime(model) if request.param == "onnxruntime" else in_openvino(model, tmp_path_factory)


def random_outputs(seed: int, count: int, spread: float = 0.15) -> Arrays:
    """Random scores (N, P, C) and boxes (N, P, 4), clustered at 12 centers per image, some outside the image."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-0.1, 1.1, (count, 12, 2))[:, rng.integers(0, 12, PRIORS)]
    centre = centre + rng.normal(0, spread / 5, centre.shape)
    half = rng.uniform(0.02, spread, centre.shape)
    scores = rng.uniform(0, 1, (count, PRIORS, CLASSES)) ** 4
    boxes = np.concatenate([centre - half, centre + half], 2)
    return [scores.astype(np.float32), boxes.astype(np.float32)]


@pytest.mark.parametrize("count", [1, 3])
def test_results_equal_postprocess(run_nms: Callable[[Arrays], Arrays], count: int) -> None:
    scores, boxes = random_outputs(count, count)
    kept_boxes, kept_scores, classes = run_nms([scores, boxes])
    assert kept_boxes.shape == (count, DETECTIONS_PER_IMAGE, 4) and kept_scores.shape == classes.shape == (
        count,
        DETECTIONS_PER_IMAGE,
    )
    assert classes.dtype == np.int64
    for index in range(count):
        expected = postprocess(scores[index], boxes[index], width=1, height=1)
        found = classes[index] >= 0
        assert found.sum() == len(expected.scores) > 30
        np.testing.assert_allclose(kept_scores[index][found], expected.scores, atol=1e-6)
        np.testing.assert_array_equal(classes[index][found], expected.labels)
        np.testing.assert_allclose(kept_boxes[index][found], expected.boxes, atol=1e-6)


def test_output_is_padded(run_nms: Callable[[Arrays], Arrays]) -> None:
    """A batch of one image with two objects, highest score first, and one without objects."""
    scores = np.full((2, PRIORS, CLASSES), SCORE_THRESHOLD / 2, np.float32)
    boxes = np.tile(np.array([0, 0, 0.5, 0.5], np.float32), (2, PRIORS, 1))
    scores[0, 5, 2], boxes[0, 5] = 0.6, [0.5, 0.5, 1.5, 0.75]  # clipped
    scores[0, 7, 0], boxes[0, 7] = 0.7, [0, 0, 0.2, 0.2]
    scores[1, 9, 1], boxes[1, 9] = 0.9, [1.1, 0, 1.3, 1]  # outside the image
    kept_boxes, kept_scores, classes = run_nms([scores, boxes])
    assert classes[0, :3].tolist() == [0, 2, -1] and (classes[0, 2:] == -1).all() and (classes[1] == -1).all()
    np.testing.assert_allclose(kept_scores[0, :3], [0.7, 0.6, 0], atol=1e-6)
    np.testing.assert_allclose(kept_boxes[0, :2], [[0, 0, 0.2, 0.2], [0.5, 0.5, 1, 0.75]], atol=1e-6)
    assert not kept_scores[1].any() and not kept_boxes[1].any() and not kept_boxes[0, 2:].any()
    nothing = run_nms([scores[1:], boxes[1:]])  # no detection in the whole batch
    assert (nothing[2] == -1).all() and nothing[2].shape == (1, DETECTIONS_PER_IMAGE)


def test_fewer_priors_than_maximum_detections() -> None:
    model = append_nms(identity_network(priors=4, classes=2))
    scores = np.eye(4, 2, dtype=np.float32)[None] * 0.5
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (1, 4, 1))
    _, kept, classes = in_onnxruntime(model)([scores, boxes])
    assert kept.tolist() == [[0.5, 0.5, 0, 0, 0, 0, 0, 0]] and sorted(classes[0, :2].tolist()) == [0, 1]
    _, scripted, _ = torch.jit.script(ScriptedSuppression())(torch.from_numpy(scores), torch.from_numpy(boxes))
    np.testing.assert_array_equal(scripted, kept)


def test_thresholds_of_a_model_of_its_own() -> None:
    """Score and NMS thresholds, candidates and detections of a card's `suppression`, in both forms of the graph."""
    options = DetectionOptions(0.2, 0.7, 50, candidates=60)
    scores, boxes = random_outputs(4, 1)
    expected = options.postprocess(scores[0], boxes[0], width=1, height=1)
    usual = DetectionOptions().postprocess(scores[0], boxes[0], width=1, height=1)
    assert len(expected.scores) == 50 and not np.array_equal(usual.scores[:50], expected.scores)
    by_onnx = in_onnxruntime(append_nms(identity_network(), options))([scores, boxes])
    scripted = torch.jit.script(ScriptedSuppression(options))(torch.from_numpy(scores), torch.from_numpy(boxes))
    for kept_boxes, kept_scores, classes in (by_onnx, scripted):
        np.testing.assert_allclose(kept_scores[0], expected.scores, atol=1e-6)
        np.testing.assert_array_equal(classes[0], expected.labels)
        np.testing.assert_allclose(kept_boxes[0], expected.boxes, atol=1e-6)
