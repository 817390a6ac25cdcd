"""A runtime from outside: one row of the registry and its session."""

from concurrent.futures import Future

import numpy as np
import pytest

from detection.detector import Detector
from pelee.runtime.backends import BACKENDS, Backend
from pelee.runtime.session import RawOutputs, RuntimeOptions


class EmptySession:
    name, parallel, batch = "empty f32 cpu", 1, 1

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size

    def __call__(self, images: np.ndarray) -> RawOutputs:
        return np.zeros((len(images), 1, 20), np.float32), np.zeros((len(images), 1, 4), np.float32)

    def submit(self, images: np.ndarray) -> Future[RawOutputs]:
        future: Future[RawOutputs] = Future()
        future.set_result(self(images))
        return future


def open_empty(_export: object, _build: object, input_size: int, _options: RuntimeOptions) -> EmptySession:
    return EmptySession(input_size)


def test_runtime_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend("empty", "numpy", (), "numpy", f"{__name__}:open_empty", runs_weights=True)
    monkeypatch.setitem(BACKENDS, "empty", backend)
    detector = Detector.load("pelee-voc", runtime="empty")
    assert detector.runtime.name == "empty f32 cpu"
    assert len(detector(np.zeros((40, 40, 3), np.uint8))) == 0
