"""Termination signals: SIGTERM and a closed terminal end a command as ctrl-C does, so that its files are finished."""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP.

    Attributes:
        exit_code: 128 and the number of the signal, as shells report it.
    """

    def __init__(self, number: int) -> None:
        """Take the number of the signal."""
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def termination_raises() -> Iterator[None]:
    """Raise `Terminated` in the block on SIGTERM and SIGHUP; only in the main thread, and not where they are ignored.

    `nohup` ignores SIGHUP. After SIGHUP the terminal is gone: stdout and stderr go nowhere where they are terminals, as
    each write to them would fail.
    """

    def terminate(number: int, _: object) -> None:
        if number != signal.SIGTERM:
            _leave_terminal()
        raise Terminated(number)

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {}
    try:
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, terminate)
    except ValueError:  # another thread than the main one
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_terminal() -> None:
    """Redirect the standard streams that are terminals to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # a closed terminal is no isatty() any more
                os.dup2(null, descriptor)
    os.close(null)
