"""Training precision: bf16 if the device computes it natively, else fp32."""

import dataclasses
from pathlib import Path
from typing import TypeVar

from pelee.training.optimization import OptimizationSettings, Precision

S = TypeVar("S", bound=OptimizationSettings)

# CPU flags of native bf16 multiplication, as Linux names them: x86 AVX-512 BF16 and AMX, and Arm's "bf16".
NATIVE_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
CPU_INFO = Path("/proc/cpuinfo")


def resolve_precision(settings: S, accelerator: str = "auto") -> tuple[S, str]:
    """Replace precision "auto" by bf16 or fp32, whichever the device computes natively.

    On a CPU that emulates bf16, training in it is less than half as fast as in fp32.

    Args:
        settings: settings of the run.
        accelerator: Lightning's name: "auto", "cpu" or "gpu".

    Returns:
        The settings, and the reason in a few words; "as set" if the precision was not "auto".
    """
    if settings.precision != "auto":
        return settings, "as set"
    native, device = _native_bf16(accelerator)
    precision: Precision = "bf16" if native else "fp32"
    reason = f"{device} computes bf16 natively" if native else f"{device} does not compute bf16 natively"
    return dataclasses.replace(settings, precision=precision), reason


def _native_bf16(accelerator: str) -> tuple[bool, str]:
    """Return whether the device of a training computes bf16 natively, and the name of the device."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False), torch.cuda.get_device_name()
    if accelerator != "cpu" and torch.backends.mps.is_available():
        return False, "the Apple GPU"
    return bool(set(NATIVE_BF16) & cpu_flags()), "this CPU"


def cpu_flags() -> set[str]:
    """Return the CPU's feature flags as Linux names them; empty on other systems."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    listed = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return set(next(listed, "").split())
