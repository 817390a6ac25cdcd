"""Processor, its instruction sets and what they mean for precision; memory; NVIDIA GPUs. Imports no torch."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

from data.cpu_cores import usable_cores
from pelee.training import precision as training_precision
from pelee.training.workers import SHARED_MEMORY, free_shared_memory

# Flags that decide which code OpenVINO, torch and OpenCV run, as Linux names them: x86, then Arm.
REPORTED_FLAGS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
# Flags of multiplication of 8-bit integers with 32-bit sums.
NATIVE_INT8 = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
MEMORY_INFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def cpu() -> tuple[str, dict[str, Any]]:
    """Return model, architecture and cores of the processor; cores that the process may use, by affinity and quota."""
    model, cores, usable, quota = _cpu_model(), os.cpu_count(), usable_cores(), cgroup_cores()
    text = f"{model}, {platform.machine()}, {usable} of {cores} cores usable"
    if quota is not None:
        text += f", limited to the time of {quota:g}"
    details = {"model": model, "architecture": platform.machine(), "cores": cores, "usable_cores": usable}
    return text, details | {"quota_cores": quota}


def instructions() -> tuple[str, dict[str, Any]]:
    """Return the instruction sets of `REPORTED_FLAGS` that the processor has."""
    flags = training_precision.cpu_flags()
    found = [flag for flag in REPORTED_FLAGS if flag in flags]
    if not flags:
        return "not listed by this system", {"flags": None}
    return " ".join(found) or "none of those that matter", {"flags": found}


def precision() -> tuple[str, dict[str, Any]]:
    """Return what the instruction sets mean: int8 of the shipped models, bf16 of training."""
    flags = training_precision.cpu_flags()
    if not flags:
        return "unknown, as the instruction sets are not listed by this system", {"int8": None, "bf16": None}
    int8 = [flag for flag in NATIVE_INT8 if flag in flags]
    bf16 = [flag for flag in training_precision.NATIVE_BF16 if flag in flags]
    inference = f"int8 native ({int8[0]})" if int8 else "int8 emulated, so the gain over f32 is small"
    training = (
        f"bf16 native ({bf16[0]}), which training on this CPU uses"
        if bf16
        else "bf16 emulated, so training on this CPU uses fp32"
    )
    return f"{inference}; {training}", {"int8": bool(int8), "bf16": bool(bf16)}


def memory() -> tuple[str, dict[str, Any]]:
    """Return total and free memory in bytes, and the limit of a container."""
    total, free = _system_memory()
    limit = cgroup_memory()
    text = f"{_gigabytes(free)} free of {_gigabytes(total)}"
    if limit is not None:
        text += f"; this process and its group may use {_gigabytes(limit)}"
    return text, {"total": total, "free": free, "limit": limit}


def shared_memory() -> tuple[str, dict[str, Any]]:
    """Return the free bytes of shared memory, in which training workers hand over batches."""
    free = free_shared_memory()
    if free is None:
        return "no limit of its own", {"free": None}
    return f"{_gigabytes(free)} free in {SHARED_MEMORY}", {"free": free}


def gpus() -> tuple[str, dict[str, Any]]:
    """Return names and driver of the NVIDIA GPUs, asked of the driver without torch."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "none: no NVIDIA driver", {"nvidia": [], "cuda": None}
    version, count = ctypes.c_int(), ctypes.c_int()
    if status := driver.cuInit(0):
        return f"none: the NVIDIA driver returns error {status}", {"nvidia": [], "cuda": None, "error": status}
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for number in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        driver.cuDeviceGet(ctypes.byref(device), number)
        driver.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode(errors="replace"))
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return f"{', '.join(names) or 'none'}; the driver supports CUDA {cuda}", {"nvidia": names, "cuda": cuda}


def cgroup_memory() -> int | None:
    """Return the lowest memory limit of the process's control groups in bytes; None without one."""
    limits = [int(text) for text in _cgroup_values("memory.max") if text.isdecimal()]
    return min(limits, default=None)


def cgroup_cores() -> float | None:
    """Return the lowest CPU quota of the process's control groups in cores; None without one."""
    found = [text.split() for text in _cgroup_values("cpu.max")]
    quotas = [int(words[0]) / int(words[1]) for words in found if len(words) == 2 and words[0] != "max"]
    return min(quotas, default=None)


def _cgroup_values(name: str) -> list[str]:
    """Return a setting of the process's control group (version 2) and of those around it."""
    own = next((line[3:].lstrip("/") for line in _lines(OWN_CGROUP) if line.startswith("0::")), "")
    folder = CGROUPS / own
    folders = [folder, *(parent for parent in folder.parents if parent.is_relative_to(CGROUPS))]
    return [line for folder in folders for line in _lines(folder / name)[:1]]


def _cpu_model() -> str:
    lines = _lines(training_precision.CPU_INFO)
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(named, "") or platform.processor() or "unknown model"


def _system_memory() -> tuple[int | None, int | None]:
    """Return total and free memory in bytes; None for what the system does not tell."""
    values = {line.partition(":")[0]: line.partition(":")[2].split() for line in _lines(MEMORY_INFO)}
    if "MemTotal" in values and "MemAvailable" in values:
        return int(values["MemTotal"][0]) * 1024, int(values["MemAvailable"][0]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None, None


def _gigabytes(size: int | None) -> str:
    return "an unknown size" if size is None else f"{size / 1e9:.2f} GB"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
