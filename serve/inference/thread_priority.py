"""Who goes first where the cores are full: the event loop, which refuses and tells its health, before what computes."""

import contextlib
import os
import sys
import threading

BEHIND = 10  # steps of niceness: a tenth of the time of whoever has none
SWITCH = 0.001  # seconds after which a thread in Python hands over to one that waits; 0.005 by itself


def step_back() -> None:
    """Put the calling thread, and the threads that it starts, behind the event loop's; on Linux, the only place where
    threads have a niceness of their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(PermissionError):  # a sandbox that forbids it
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + BEHIND, 19))


def switch_often() -> None:
    """Let the event loop wait a millisecond, not five, for a thread that decodes or draws: for the whole process."""
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH))
