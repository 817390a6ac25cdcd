"""Processor cores usable by this process."""

import os


def usable_cores() -> int:
    """Number of cores in the process's affinity mask, or of all cores where the system has none."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
