"""Standard streams of a command: open, and able to print any file name."""

import io
import os
import sys
from contextlib import suppress

_closed: set[str] = set()


def prepare_standard_streams() -> None:
    """Open closed standard streams (`>&-`) on the null device, and let stdout print any text.

    With descriptor 1 closed, the next file that is opened gets it, and libraries that print would write into that file.
    A character that the encoding of stdout lacks, or an undecodable byte of a file name, is printed as an escape, as on
    stderr.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            _closed.add(name)
            null = os.open(os.devnull, os.O_RDWR)
            if null == descriptor:
                os.set_inheritable(null, True)
            else:
                os.dup2(null, descriptor)
                os.close(null)
        if getattr(sys, name) is None:
            _closed.add(name)
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(ValueError, io.UnsupportedOperation):
            sys.stdout.reconfigure(errors="backslashreplace")


def was_closed(name: str) -> bool:
    """Whether a stream ("stdin", "stdout", "stderr") was closed when the command started."""
    return name in _closed
