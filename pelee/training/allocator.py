"""Memory allocator settings for training on a CPU, which uses the same large blocks at every step."""

import ctypes
import os
import sys

# Parameters of mallopt, from malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
M_ARENA_MAX = -8


def tune_allocator() -> None:
    """Make this process keep freed memory, and make torch allocate large blocks in huge pages.

    By default glibc requests memory from the system for every large tensor and returns it after use, and all pages are
    zeroed and mapped again at every step. After this call the process keeps its maximum until it ends. Torch reads
    THP_MEM_ALLOC_ENABLE at its first allocation, so call this before importing torch; a value set by the user is kept.
    On Linux without glibc only the huge pages are set, on other systems nothing.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return
    mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap, too
    mallopt(M_TRIM_THRESHOLD, -1)  # the heap never shrinks
    mallopt(M_ARENA_MAX, 1)  # one heap for all threads: that of the backward thread could not hold them
