"""Contract of sessions, in every runtime: threads, batches in flight, options."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import nn

from data.errors import SettingsError
from pelee.runtime.onnxruntime_session import OnnxRuntimeSession
from pelee.runtime.openvino_session import OpenVinoSession
from pelee.runtime.session import RawOutputs, RuntimeOptions, Session
from pelee.runtime.torch_session import TorchSession
from tests.support.tiny_onnx import save_onnx
from tests.support.tiny_openvino import SIZE, random_images, save_openvino


class ToFloat(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (images.float(),)


OPENERS: dict[str, Callable[[Path], Session[RawOutputs]]] = {
    "openvino latency": lambda folder: OpenVinoSession(save_openvino(folder / "m", factor=1)),
    "openvino throughput": lambda folder: OpenVinoSession(save_openvino(folder / "m", factor=1), mode="throughput"),
    "onnxruntime latency": lambda folder: OnnxRuntimeSession(save_onnx(folder)),
    "onnxruntime throughput": lambda folder: OnnxRuntimeSession(save_onnx(folder), mode="throughput"),
    "torch": lambda _: TorchSession(ToFloat(), SIZE, device="cpu"),
}


@pytest.fixture(params=OPENERS)
def session(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session[RawOutputs]:
    monkeypatch.setattr("pelee.runtime.openvino_cache.cache_folder", lambda: tmp_path / "cache")
    return OPENERS[request.param](tmp_path)


@pytest.mark.slow
def test_calls_and_submits_from_many_threads(session: Session[RawOutputs]) -> None:
    """Each of 8 threads gets the outputs of its own images, of any batch size, and the arrays are its own."""
    start = Barrier(8)

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        start.wait(60)
        flying: list[tuple[np.ndarray, Future[RawOutputs]]] = []
        for count in (1, 4, 3, 1, 8, 2) * 4:
            images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
            flying.append((images, session.submit(images)))
            np.testing.assert_array_equal(session(images)[0], images)
        for images, future in flying:
            np.testing.assert_array_equal(future.result(60)[0], images)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work, number) for number in range(8)]:
            done.result(120)


def test_an_error_reaches_the_caller_and_the_session_goes_on(session: Session[RawOutputs]) -> None:
    if session.name.startswith("torch"):
        pytest.skip("the graph takes any shape")
    wrong = np.zeros((1, SIZE + 1, SIZE, 3), np.uint8)
    for _ in range(5):  # more often than there are requests
        with pytest.raises(Exception, match=r"(?i)shape|dimensions"):
            session.submit(wrong).result(60)
    images = random_images(2)
    np.testing.assert_array_equal(session(images)[0], images)


@pytest.mark.parametrize("size", [0, -16, 100_000, 1.5, "304"])
def test_input_sizes_out_of_range(size: int) -> None:
    with pytest.raises(SettingsError, match=r"the input size is .*, expected pixels from 1 to 4096"):
        RuntimeOptions(size=size)
