"""Machine of a benchmark: free cores and clock from the system's files, and systems without them."""

import time
from pathlib import Path

import numpy as np
import pytest

from detection.benchmark import bench_machine


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_machine, "WATCHED", 0.0)
    found = bench_machine.describe_machine()
    assert found["versions"]["numpy"] == np.__version__
    assert found["cores"] >= 1 and found["processor"] and isinstance(found["busy"], bool)


@pytest.mark.parametrize(("other", "busy"), [(10, False), (60, True)])
def test_free_cores_are_those_that_nobody_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: int, busy: bool
) -> None:
    """Two cores over 100 ticks: one idle but for `other` ticks, the other idle or waiting but for 10 of the host."""
    times = tmp_path / "stat"
    times.write_text("cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 5 0 0 100 0 0 0 0 0 0\ncpu1 5 0 0 100 0 0 0 0 0 0\nintr 1\n")

    def later(seconds: float) -> None:
        times.write_text(
            f"cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 {5 + other} 0 0 {200 - other} 0 0 0 0 0 0\n"
            "cpu1 5 0 0 180 10 0 0 10 0 0\nintr 1\n"
        )

    monkeypatch.setattr(bench_machine, "CPU_TIMES", times)
    monkeypatch.setattr(bench_machine, "_usable", lambda: [0, 1])
    monkeypatch.setattr(bench_machine, "usable_cores", lambda: 2)
    monkeypatch.setattr(time, "sleep", later)
    found = bench_machine.describe_machine()
    assert found["free_cores"] == pytest.approx(1.9 - other / 100) and found["busy"] == busy


def test_clock_and_name_of_x86_and_of_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "cpuinfo"
    monkeypatch.setattr(bench_machine, "CPU_INFO", facts)
    facts.write_text("model name\t: X\ncpu family\t: 6\nmodel\t\t: 85\ncpu MHz\t\t: 2100.5\n\ncpu MHz\t\t: 3000.1\n")
    assert (bench_machine.clock_mhz(), bench_machine._processor()) == (3000, "X (family 6, model 85)")
    facts.write_text("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp\n")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert (bench_machine.clock_mhz(), bench_machine._processor()) == (None, "aarch64")


def test_a_system_without_these_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_machine, "CPU_INFO", tmp_path / "no")
    monkeypatch.setattr(bench_machine, "CPU_TIMES", tmp_path / "no")
    found = bench_machine.describe_machine()
    assert (found["free_cores"], found["clock_mhz"], found["busy"]) == (None, None, False) and found["processor"]
