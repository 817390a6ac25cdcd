"""Lock of an open file, which ends with the file or the process, however that ends."""

from typing import IO


def try_lock(handle: IO[str]) -> bool:
    """Lock a file for this process alone; return False where another process has it.

    Return True on a system without such locks (Windows). OSError where the file system has none.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
