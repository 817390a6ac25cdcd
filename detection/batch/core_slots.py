"""Cores of a worker: each worker of a machine runs on cores of its own, without anybody who hands them out."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_held: list[int] = []  # open lock files, for as long as the process runs


def claim_cores(count: int) -> set[int]:
    """Restrict this process to `count` cores that no other worker of this user has; return them.

    The n-th group of cores belongs to the process that holds a lock on the file n, which ends with the process. All
    cores are left to a process that wants all, that finds no free group, or on a system without affinity.
    """
    if not hasattr(os, "sched_getaffinity"):
        return set()
    cores = sorted(os.sched_getaffinity(0))
    groups = [cores[start : start + count] for start in range(0, len(cores) - count + 1, count)]
    if len(groups) < 2:
        return set(cores)
    for number, group in enumerate(groups):
        if _lock(Path(tempfile.gettempdir(), f"pelee-cores-{os.getuid()}-{count}-{number}")):
            for thread in Path("/proc/self/task").iterdir():  # each thread has a mask of its own
                with suppress(OSError):
                    os.sched_setaffinity(int(thread.name), group)
            return set(group)
    return set(cores)


def _lock(path: Path) -> bool:
    """Lock a file until the process ends; False where another process has the lock."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    _held.append(handle)
    return True
