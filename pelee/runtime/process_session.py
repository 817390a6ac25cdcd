"""Session that survives threads, forks and the end of the interpreter, around the session of any runtime."""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, current_thread
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakSet

from pelee.runtime.exit_gate import exit_gate
from pelee.runtime.session import RawOutputs, Session

if TYPE_CHECKING:
    import numpy as np


class ProcessSession:
    """`Session` of the current process; a forked child opens a session of its own when it first uses it.

    Threads of a runtime do not exist in a forked child: its calls would hang, and so would the destructors of its
    objects at the end of the child. Daemon threads run no native code here, because it aborts the process if it returns
    while the interpreter is ending.
    """

    def __init__(self, opener: Callable[[], Session[RawOutputs]]) -> None:
        """Open the session with `opener`, which is called again in a forked child."""
        self._opener = opener
        self._session: Session[RawOutputs] | None = opener()
        self._lock = Lock()
        self.name = self._session.name
        self.input_size = self._session.input_size
        self.parallel = self._session.parallel
        self.batch = self._session.batch
        _sessions.add(self)

    def __call__(self, images: "np.ndarray") -> RawOutputs:
        if current_thread().daemon:
            return self.submit(images).result()
        return self._current()(images)

    def submit(self, images: "np.ndarray") -> Future[RawOutputs]:
        try:
            return self._current().submit(images)
        except RuntimeError as error:
            # Executors are shut down only by the end of the interpreter, which ends this daemon thread, too.
            if current_thread().daemon and str(error).startswith("cannot schedule new futures"):
                exit_gate.hold()
            raise

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session cannot be pickled; pickle the Detector or Classifier, or load it in each process")

    def _current(self) -> Session[RawOutputs]:
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = self._opener()
        return self._session

    def _forget(self) -> None:
        """Give up the parent's session without destroying it."""
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            self._session = None
        self._lock = Lock()  # a thread of the parent may have held it


_sessions: "WeakSet[ProcessSession]" = WeakSet()


def _forget_all() -> None:
    for session in list(_sessions):
        session._forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)
