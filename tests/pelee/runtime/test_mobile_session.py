"""Session of networks for one image: batches in flight, options and files that do not fit."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.errors import SettingsError, WeightsError
from pelee.runtime.mobile_session import MobileSession, open_litert, open_ncnn
from pelee.runtime.session import RawOutputs, RuntimeOptions
from tests.support.tiny_onnx import SIZE, save_onnx
from weights.store import ModelFile


class MeanNetwork:
    """Mean of the channels, and the image; fails where two threads use it at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> RawOutputs:
        assert self.lock.acquire(blocking=False)
        try:
            return image.mean((0, 1)), image
        finally:
            self.lock.release()


@pytest.mark.parametrize("count", [1, 3])
def test_every_batch_gets_its_own_results(count: int) -> None:
    session = MobileSession("ncnn f32 cpu", SIZE, [MeanNetwork() for _ in range(count)])
    assert (session.name, session.input_size, session.parallel, session.batch) == ("ncnn f32 cpu", SIZE, count, 1)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (1 + number % 3, SIZE, SIZE, 3), dtype=np.uint8) for number in range(20)]
    futures = [session.submit(images[:, :, ::-1]) for images in batches]
    for images, future in zip(batches, futures, strict=True):
        means, same = future.result(60)
        np.testing.assert_array_equal(same, images[:, :, ::-1])
        np.testing.assert_array_equal(means, session(images[:, :, ::-1])[0])
        same[:] = 0  # the caller's own
    with pytest.raises(ValueError, match="a batch of 0 images"):
        session(batches[0][:0])


def build() -> None:
    raise AssertionError("an export needs no torch graph")


def use_fakes(monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    """Replace both runtimes, whose packages need not be here, by ones that open every file or none."""
    network = SimpleNamespace(
        opt=SimpleNamespace(), load_param=lambda _: not works, load_model=lambda _: 0, output_names=list
    )

    def open_file(_path: str, num_threads: int) -> SimpleNamespace:
        if not works:
            raise ValueError("Model provided has model identifier 'no m', should be 'TFL3'\n")
        return SimpleNamespace(allocate_tensors=lambda: None, threads=num_threads)

    interpreter = SimpleNamespace(Interpreter=open_file)
    fakes = {"ncnn": SimpleNamespace(Net=lambda: network), "ai_edge_litert": SimpleNamespace(interpreter=interpreter)}
    for name, fake in (fakes | {"ai_edge_litert.interpreter": interpreter}).items():
        monkeypatch.setitem(sys.modules, name, fake)  # type: ignore[arg-type]


@pytest.fixture
def export(tmp_path: Path) -> ModelFile:
    return save_onnx(tmp_path)  # the fakes read no file


@pytest.mark.parametrize(("name", "opener"), [("litert", open_litert), ("ncnn", open_ncnn)])
def test_options(monkeypatch: pytest.MonkeyPatch, export: ModelFile, name: str, opener) -> None:  # type: ignore[no-untyped-def]
    use_fakes(monkeypatch, works=True)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert opener(export, build, SIZE, RuntimeOptions()).parallel == 1
    session = opener(export, build, SIZE, RuntimeOptions(mode="throughput", device="CPU"))
    assert (session.parallel, session.name) == (3, f"{name} f32 cpu")
    with pytest.raises(SettingsError, match=f"{name} runs no bf16"):
        opener(export, build, SIZE, RuntimeOptions(precision="bf16"))
    with pytest.raises(SettingsError, match=f"device 'cuda' is not here for the {name} runtime"):
        opener(export, build, SIZE, RuntimeOptions(device="cuda"))


@pytest.mark.parametrize(
    ("opener", "error"), [(open_litert, "LiteRT cannot open it: Model provided"), (open_ncnn, "ncnn")]
)
def test_files_that_are_no_model(monkeypatch: pytest.MonkeyPatch, export: ModelFile, opener, error: str) -> None:  # type: ignore[no-untyped-def]
    use_fakes(monkeypatch, works=False)
    with pytest.raises(WeightsError, match=error):
        opener(export, build, SIZE, RuntimeOptions())
