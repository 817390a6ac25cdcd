"""Memory as training on a CPU uses it: the same large blocks at every step, written from end to end."""

import ctypes
import os
import sys

# mallopt's parameters, of malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
M_ARENA_MAX = -8


def tune_allocator() -> None:
    """Have this process keep the memory that it frees, and have torch ask for large blocks in huge pages.

    By default glibc asks the system for every large tensor and returns it after use, and all of its pages are zeroed
    and mapped again at every step. From now on the process keeps what it needed at most until it ends. Torch reads its
    variable when it first allocates, so that this is to be called before torch is imported; where the user has set it,
    it stays. Elsewhere than on Linux nothing happens, and without glibc the huge pages alone.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return
    mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap, too,
    mallopt(M_TRIM_THRESHOLD, -1)  # which never shrinks,
    mallopt(M_ARENA_MAX, 1)  # and which the thread of the backward pass shares, whose own could not hold them
