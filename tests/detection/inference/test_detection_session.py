"""The torch runtime: what it gives is the network's own answer, fused or not, picture by picture."""

import numpy as np
import pytest
import torch

from detection.detector import Detector
from detection.inference.detection_session import DetectionSession, load_runtime
from detection.inference.nms import postprocess
from detection.models.inference_model import DetectionGraph
from detection.models.loading import load_network
from pelee.runtime.session import RuntimeOptions
from tests.support.tiny_detector import PRIORS, SIZE, pictures, save_small
from weights.store import ModelFile


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def runtime(model: ModelFile) -> DetectionSession:
    return load_runtime(model, RuntimeOptions(runtime="torch", device="cpu"))


@pytest.mark.slow
def test_runtime_gives_the_networks_answer(model: ModelFile, runtime: DetectionSession) -> None:
    images = pictures(3)
    scores, boxes = runtime(images)
    with torch.no_grad():
        expected_scores, expected_boxes = DetectionGraph(load_network(model))(torch.from_numpy(images))
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
    np.testing.assert_allclose(boxes, expected_boxes, atol=1e-4)


@pytest.mark.slow
def test_runtime_contract(runtime: DetectionSession) -> None:
    assert (runtime.input_size, runtime.parallel, runtime.name) == (SIZE, 1, "torch f32 cpu")
    for count in (1, 2):
        scores, boxes = runtime(pictures(count))
        assert scores.shape == (count, PRIORS, 3) and boxes.shape == (count, PRIORS, 4)
        assert scores.dtype == boxes.dtype == np.float32
        assert scores.min() >= 0 and scores.max() <= 1


def test_a_batch_is_its_pictures(runtime: DetectionSession) -> None:
    images = pictures(2)
    together = runtime(images)
    for index in range(2):
        for whole, alone in zip(together, runtime(images[index : index + 1]), strict=True):
            np.testing.assert_allclose(whole[index], alone[0], atol=1e-4)


def test_runtime_takes_views_and_leaves_them_alone(runtime: DetectionSession) -> None:
    images = pictures(1)
    before = images.copy()
    flipped = images[:, :, ::-1]  # negative strides, which torch does not take
    scores, _ = runtime(flipped)
    np.testing.assert_array_equal(scores, runtime(np.ascontiguousarray(flipped))[0])
    assert np.array_equal(images, before)


def test_submitted_results_are_the_callers_own(runtime: DetectionSession) -> None:
    batches = [pictures(count) for count in (1, 2, 3)]
    futures = [runtime.submit(images) for images in batches]
    for images, future in zip(batches, futures, strict=True):
        for early, late in zip(future.result(60), runtime(images), strict=True):
            np.testing.assert_allclose(early, late, atol=1e-5)


def test_an_error_reaches_who_waits_for_it(runtime: DetectionSession) -> None:
    with pytest.raises(RuntimeError):
        runtime.submit(np.zeros((1, SIZE, SIZE, 4), np.uint8)).result(60)


@pytest.mark.slow
def test_detector_from_a_folder(model: ModelFile, runtime: DetectionSession) -> None:
    """The whole way: a folder's name, a picture of another shape, boxes in its pixels."""
    detector = Detector.load(model.path.parent)
    picture = np.random.default_rng(0).integers(0, 256, (50, 120, 3), dtype=np.uint8)
    found = detector(picture, confidence=0.05)
    assert len(found) > 0
    assert (found.xyxy >= 0).all() and (found.xyxy <= [120, 50, 120, 50]).all()
    assert found.class_id is not None and set(found.class_id) <= {0, 1, 2}

    same = pictures(1)
    scores, boxes = runtime(same)
    expected = postprocess(scores[0], boxes[0], width=SIZE, height=SIZE, confidence=0.05)
    again = detector(same[0], confidence=0.05)  # already of the input's size: nothing to warp
    np.testing.assert_allclose(again.xyxy, expected.boxes, atol=1e-3)
