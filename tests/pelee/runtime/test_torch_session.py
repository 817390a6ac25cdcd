"""PyTorch session: fused batch norms, bfloat16, devices."""

import numpy as np
import pytest
import torch
from torch import nn

from data.errors import SettingsError
from detection.inference.detection_session import DetectionSession, load_runtime
from detection.models.inference_model import DetectionGraph
from detection.models.loading import load_network
from pelee.runtime.session import RuntimeOptions
from pelee.runtime.torch_session import TorchSession
from tests.support.tiny_detector import SIZE, pictures, save_small
from weights.store import ModelFile


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def runtime(model: ModelFile) -> DetectionSession:
    return load_runtime(model, RuntimeOptions(runtime="torch", device="cpu"))


@pytest.mark.slow
def test_runtime_runs_fused(model: ModelFile) -> None:
    session = TorchSession(DetectionGraph(load_network(model)), SIZE, device="cpu")
    assert not session.graph.training
    assert not any(isinstance(module, nn.BatchNorm2d) for module in session.graph.modules())


@pytest.mark.slow
def test_bfloat16_is_near_and_gives_float32(model: ModelFile, runtime: DetectionSession) -> None:
    half = load_runtime(model, RuntimeOptions(runtime="torch", device="cpu", precision="bf16"))
    assert half.name == "torch bf16 cpu"
    for rough, exact in zip(half(pictures(1)), runtime(pictures(1)), strict=True):
        assert rough.dtype == np.float32
        assert 0 < np.abs(rough - exact).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "message"),
    [("warp", "unknown device 'warp'"), ("meta", "device 'meta' is not supported"), ("cuda", "finds no CUDA device")],
)
def test_devices_that_are_not_here(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=message):
        load_runtime(model, RuntimeOptions(runtime="torch", device=device))
