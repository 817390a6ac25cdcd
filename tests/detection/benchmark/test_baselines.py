"""The detectors that `pelee-bench` sets beside ours."""

import numpy as np
import pytest
import torch

from detection.benchmark.baselines import EagerRuntime, TorchvisionModel, baseline_cases
from detection.detector import Detector
from tests.conftest import TrainedRun


@pytest.mark.slow
def test_eager_is_the_same_network(trained_run: TrainedRun) -> None:
    weights = str(trained_run.output / "model")
    images = np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3), np.uint8)
    plain = EagerRuntime(weights)
    for mine, theirs in zip(
        plain(images), Detector.load(weights, runtime="torch", device="cpu").runtime(images), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    for mine, later in zip(plain(images), plain.submit(images).result(), strict=True):
        np.testing.assert_array_equal(mine, later)


@pytest.mark.slow
def test_eager_alone_is_one_contender(trained_run: TrainedRun) -> None:
    (eager,) = baseline_cases(["eager"], str(trained_run.output / "model"))
    assert eager.batch == 1 and eager.choice is None
    assert len(eager.call([np.zeros((50, 40, 3), np.uint8)])) == 1  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(90, 70), (320, 320)])
def test_torchvision_takes_an_image_of_any_size_and_finds_nothing(size: tuple[int, int]) -> None:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    torch.manual_seed(0)
    model = TorchvisionModel(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None))
    (found,) = model([np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)])
    assert set(found) == {"boxes", "scores", "labels"}
    assert len(found["boxes"]) == 0
