"""Exit gate: keeps daemon threads out of native code while the interpreter ends.

Python ends a daemon thread where it takes the interpreter's lock again. In native code of C++ (OpenCV, OpenVINO) that
aborts the process. So daemon threads pass a gate around such code; at exit it closes, and waits until all have left.
"""

import atexit
import os
import threading
from typing import NoReturn

PATIENCE = 10.0  # seconds that the exit waits for a call, which may read from a slow file


class ExitGate:
    """Context manager around native code; only daemon threads are counted. It may be entered again within.

    After it was closed, a daemon thread that enters waits for the end of the process.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all threads: in a forked child they do not exist, and one of them may have held the lock."""
        self._condition = threading.Condition()
        self._inside = 0  # daemon threads
        self._closed = self._registered = False
        self._own = threading.local()

    def __enter__(self) -> None:
        if not threading.current_thread().daemon:
            return
        depth = getattr(self._own, "depth", 0)
        if depth == 0:
            self._count_in()
        self._own.depth = depth + 1

    def __exit__(self, *error: object) -> None:
        if threading.current_thread().daemon:
            self._own.depth -= 1
            if self._own.depth == 0:
                self._count_out()

    def hold(self) -> NoReturn:
        """Leave the gate and wait for the end of the process, in a daemon thread."""
        if getattr(self._own, "depth", 0):
            self._count_out()
        while True:
            threading.Event().wait()

    def close(self, patience: float = PATIENCE) -> bool:
        """Keep daemon threads out from now on; return whether those inside left in `patience` seconds."""
        with self._condition:
            self._closed = True
            return self._condition.wait_for(lambda: self._inside == 0, patience)

    def _count_in(self) -> None:
        with self._condition:
            if not self._closed:
                self._inside += 1
                if not self._registered:  # not before: handlers of runtimes that were imported must run later
                    self._registered = True
                    atexit.register(self.close)
                return
        self.hold()

    def _count_out(self) -> None:
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()


#: Gate of `Detector` and `Classifier`.
exit_gate = ExitGate()

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=exit_gate.reset)
