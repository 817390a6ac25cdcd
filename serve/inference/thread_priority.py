"""Thread priority of compute threads, so that the event loop stays responsive under load."""

import contextlib
import os
import sys
import threading

NICE_INCREMENT = 10  # niceness added to compute threads: about a tenth of the CPU share of a thread at niceness 0
SWITCH_INTERVAL = 0.001  # s, of the interpreter's thread switching; Python's default is 0.005


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread and of the threads it starts; on Linux only.

    On other systems niceness belongs to the whole process.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(PermissionError):  # forbidden in some sandboxes
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + NICE_INCREMENT
            os.setpriority(os.PRIO_PROCESS, thread, min(niceness, 19))


def set_switch_interval() -> None:
    """Bound the event loop's wait for a Python thread that decodes or draws; affects the whole process."""
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))
