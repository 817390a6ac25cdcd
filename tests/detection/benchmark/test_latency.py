"""Latency benchmark: timed calls in turns, rates, and absent cases."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from data.errors import SettingsError
from detection.benchmark import latency
from detection.benchmark.latency import ROUND_WARMUP_CALLS, ROUNDS, WARMUP_CALLS, BenchmarkCase
from detection.detector import Detector
from tests.support.rectangle_session import RectangleRuntime, make_card, make_detector, picture


@pytest.mark.slow
def test_cases_take_turns_and_each_is_timed_as_often_as_asked() -> None:
    calls: list[str] = []
    sizes: set[int] = set()

    def case(name: str, seconds: float, batch: int) -> BenchmarkCase:
        def call(images: list[np.ndarray]) -> None:
            calls.append(name)
            sizes.add(len(images))
            time.sleep(seconds)

        return BenchmarkCase(name, batch, call)

    quick, slow = case("quick", 0.001, 1), case("slow", 0.01, 3)
    latency.time_calls([quick, slow], [picture(), picture()], repeats=12)
    assert len(quick.times) == len(slow.times) == 12 and sizes == {1, 3}
    assert calls.count("quick") == calls.count("slow") == WARMUP_CALLS + ROUNDS * ROUND_WARMUP_CALLS + 12
    turns = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert turns == ["quick", "slow"] * (1 + ROUNDS)
    assert min(slow.times) >= 0.01 and min(quick.times) >= 0.001


@pytest.mark.slow
def test_only_calls_that_count_are_in_the_stages() -> None:
    detector = make_detector()
    case = BenchmarkCase("ours", 1, latency._finder(detector), detector)
    latency.time_calls([case], [picture()], repeats=7)
    assert isinstance(detector.runtime, RectangleRuntime)
    assert len(detector.runtime.batches) == WARMUP_CALLS + ROUNDS * ROUND_WARMUP_CALLS + 7
    assert {name: len(times) for name, times in detector.timer._times.items()} == {
        "preprocess": 7,
        "network": 7,
        "postprocess": 7,
    }


def test_a_row_by_hand() -> None:
    row = BenchmarkCase("x", 4, lambda images: None, times=[0.01, 0.02, 0.03, 0.04, 0.10], rates=[5, 7, 100]).row()
    assert row == {
        "name": "x",
        "batch": 4,
        "p50_ms": 30,
        "p95_ms": pytest.approx(88),  # between 40 and 100, at 0.8
        "pictures_per_s": 100,  # 20 images in 0.2 s
        "in_flight_pictures_per_s": 7,
    }


class TwoAtOnce(RectangleRuntime):
    """Runtime that processes two images at once, 10 ms each."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ThreadPoolExecutor(2)
        self.flying = self.most = 0
        self._lock = threading.Lock()

    def submit(self, images: np.ndarray) -> Future[Any]:
        with self._lock:
            self.flying += 1
            self.most = max(self.most, self.flying)
        return self.pool.submit(self._work)

    def _work(self) -> None:
        time.sleep(0.01)
        with self._lock:
            self.flying -= 1


@pytest.mark.slow
def test_the_bare_network_is_kept_full() -> None:
    runtime = TwoAtOnce()
    rate = latency.async_throughput(Detector(runtime, make_card()), 0.3)
    runtime.pool.shutdown()
    assert 20 < rate <= 200
    assert runtime.most == runtime.parallel + 1


def test_what_is_absent_is_named_and_the_rest_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(RectangleRuntime):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def load(model: str, *, runtime: str, device: str, precision: str, mode: str = "latency") -> Detector:
        if (model, runtime, precision) not in {("a", "torch", "f32"), ("b", "openvino", "f32"), ("a", "torch", "bf16")}:
            raise SettingsError(f"no {runtime} {precision} in {model}")
        return Detector(Named(f"{runtime} {precision} {mode}"), make_card())

    monkeypatch.setattr(Detector, "load", load)
    found, absent = latency.own_cases(["a", "b"], ["openvino", "torch"], ["int8", "f32"], "cpu", [1, 8])
    assert [(one.name, one.batch) for one in found] == [
        ("openvino f32 latency", 1),
        ("openvino f32 latency", 8),
        ("torch f32 latency", 1),
        ("torch f32 latency", 8),
    ]
    assert absent == ["openvino int8: no openvino int8 in a", "torch int8: no torch int8 in a"]
    assert found[0].flags() == ["--weights", "b", "--runtime", "openvino", "--device", "cpu", "--precision", "f32"]
    assert found[0].load("throughput").runtime.name == "openvino f32 throughput"


def test_nms_is_timed_at_both_thresholds() -> None:
    times = latency.time_nms(make_detector(), [picture(), picture(50, 60, (5, 5, 30, 30))], 3)
    assert set(times) == {"default", "worst_at_0.01"} and all(0 < value < 1000 for value in times.values())
