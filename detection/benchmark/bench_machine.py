"""Machine of a benchmark: processor, instruction sets, free cores, clock, system, versions."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

from data.cpu_cores import usable_cores
from pelee.diagnosis.machine import instructions

PACKAGES = ("openvino", "onnxruntime", "torch", "torchvision", "numpy", "av")  # the packages that determine speed
CPU_INFO = Path("/proc/cpuinfo")
CPU_TIMES = Path("/proc/stat")
WATCHED = 1.0  # seconds in which the free cores are measured
BUSY = 0.5  # cores in use by others from which on a machine is busy


def describe_machine() -> dict[str, Any]:
    """Describe the machine before a benchmark loads it.

    Returns:
        "processor"; "instructions", of `pelee.diagnosis.machine.REPORTED_FLAGS`; "cores" that the process may use;
        "free_cores" at present, None where the system does not tell; "clock_mhz", None likewise; "busy"; "system";
        "python"; "versions".
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    cores, free = usable_cores(), free_cores(WATCHED)
    return {
        "processor": _processor(),
        "instructions": instructions()[1]["flags"] or [],
        "cores": cores,
        "free_cores": free,
        "clock_mhz": clock_mhz(),
        "busy": free is not None and free < cores - BUSY,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def free_cores(seconds: float) -> float | None:
    """Measure how many of the usable cores are idle, over `seconds`; None on a system without /proc/stat."""
    if not (before := _idle_and_total()):
        return None
    time.sleep(seconds)
    after = _idle_and_total()
    used = [cpu for cpu in _usable() if cpu in before and cpu in after]
    shares = [
        (after[cpu][0] - before[cpu][0]) / max(after[cpu][1] - before[cpu][1], 1) for cpu in used or sorted(before)
    ]
    return round(sum(shares), 2)


def clock_mhz() -> int | None:
    """Return the present clock of the fastest core in MHz; None on a system that does not tell."""
    clocks = [float(value) for value in _values("cpu MHz")]
    return round(max(clocks)) if clocks else None


def _idle_and_total() -> dict[int, tuple[int, int]]:
    """Idle and total time of each core, in ticks; time in which the host ran others (steal) is not idle."""
    try:
        lines = CPU_TIMES.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines if line.startswith("cpu") and line[3:4].isdecimal())
    # user, nice, system, idle, iowait, irq, softirq, steal; the guests' times after them are part of user and nice
    return {int(row[0][3:]): (int(row[4]) + int(row[5]), sum(map(int, row[1:9]))) for row in rows}


def _usable() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _processor() -> str:
    """Processor name, with family and model where available (the names of cloud machines are generic)."""
    if not CPU_INFO.is_file():
        return platform.processor() or platform.machine()
    name = next(iter(_values("model name")), platform.machine())
    family, model = (next(iter(_values(key)), "") for key in ("cpu family", "model"))
    return f"{name} (family {family}, model {model})" if family else name


def _values(key: str) -> list[str]:
    """Values of a field of /proc/cpuinfo, one per core; empty on systems without it and on processors without it."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip() == key and value.strip()]
