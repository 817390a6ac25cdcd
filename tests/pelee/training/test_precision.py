"""Precision "auto": bf16 where the device computes it natively."""

from pathlib import Path

import pytest
import torch

from pelee.training import precision
from pelee.training.optimization import OptimizationSettings
from pelee.training.precision import cpu_flags, resolve_precision


def on_cpu(flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: Some CPU\n{flags}\n\nprocessor\t: 1\n{flags}\n")
    monkeypatch.setattr(precision, "CPU_INFO", file)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", "fp32"),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", "bf16"),
        ("flags\t\t: fpu avx2 amx_bf16 amx_tile", "bf16"),
        ("Features\t: fp asimd i8mm bf16", "bf16"),
        ("Features\t: fp asimd", "fp32"),
        ("flags\t\t: not_quite_avx512_bf16_either", "fp32"),
    ],
)
def test_cpu_flags_decide(flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu(flags, tmp_path, monkeypatch)
    settings, reason = resolve_precision(OptimizationSettings(lr=0.5), "cpu")
    assert (settings.precision, settings.lr) == (expected, 0.5)
    assert reason.startswith("this CPU") and ("does not" in reason) == (expected == "fp32")


@pytest.mark.parametrize("chosen", ["bf16", "fp16", "fp32"])
def test_an_explicit_precision_stays(chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu("flags: avx2", tmp_path, monkeypatch)
    given = OptimizationSettings(precision=chosen)  # type: ignore[arg-type]
    assert resolve_precision(given) == (given, "as set")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_cuda_device_decides_unless_the_cpu_was_chosen(
    native: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu("flags: avx2", tmp_path, monkeypatch)
    asked: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: asked.append(including_emulation) or native
    )
    settings, reason = resolve_precision(OptimizationSettings())
    assert settings.precision == expected and reason.startswith("Some GPU") and asked == [False]
    assert resolve_precision(OptimizationSettings(), "cpu")[0].precision == "fp32"


def test_a_system_without_cpuinfo_trains_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "absent")
    assert cpu_flags() == set()
    assert resolve_precision(OptimizationSettings(), "cpu")[0].precision == "fp32"
