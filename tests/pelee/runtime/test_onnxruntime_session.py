"""ONNX Runtime session on a graph of one node: outputs, batches in flight, files and devices that do not fit."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import SettingsError, WeightsError
from pelee.runtime.onnxruntime_session import OnnxRuntimeSession
from tests.support.tiny_onnx import SIZE, save_onnx


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_outputs_of_any_batch(tmp_path: Path, mode: str) -> None:
    session = OnnxRuntimeSession(save_onnx(tmp_path), mode=mode)
    assert (session.name, session.input_size, session.batch) == ("onnxruntime f32 cpu", SIZE, 1)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8) for count in (1, 4, 2)]
    futures = [session.submit(batch[:, :, ::-1]) for batch in batches]
    for batch, future in zip(batches, futures, strict=True):
        (values,) = future.result(60)
        np.testing.assert_array_equal(values, batch[:, :, ::-1])


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="ONNX Runtime cannot open it"):
        OnnxRuntimeSession(save_onnx(tmp_path, content=b"no model"))
    with pytest.raises(WeightsError, match="takes images of shape"):
        OnnxRuntimeSession(save_onnx(tmp_path, size=2 * SIZE))


def test_devices_and_precisions_that_are_not_here(tmp_path: Path) -> None:
    model = save_onnx(tmp_path)
    with pytest.raises(SettingsError, match="device 'npu7' is not here for the onnxruntime runtime"):
        OnnxRuntimeSession(model, device="npu7")
    with pytest.raises(SettingsError, match="onnxruntime runs no bf16"):
        OnnxRuntimeSession(model, precision="bf16")
