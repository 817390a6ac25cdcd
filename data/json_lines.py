"""JSON Lines output that is written while a command runs."""

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data.atomic_files import is_special_file
from data.json_output import check_json_target, is_stdout


@contextmanager
def json_lines(target: str | None) -> Iterator[Callable[[str], None] | None]:
    """Yield a function that writes one line: to a file, or to stdout for "-"; None for None.

    Each line is in the file once the function returns, so `tail -f` can follow it, and it survives whatever ends the
    process. Earlier content is replaced at the first line, or at the end of a block without lines; an error before the
    first line leaves the file as it was. A special file (a pipe, /dev/null) is appended to.
    """
    check_json_target(target)
    if target is None:
        yield None
    elif is_stdout(target):
        yield lambda line: print(line, flush=True, file=sys.stdout)
    else:
        existed = os.path.lexists(target)
        lines = _LineFile(target)
        try:
            yield lines.write
            lines.start()
        except KeyboardInterrupt:
            lines.start()
            raise
        finally:
            lines.close()
            if not lines.started and not existed:
                Path(target).unlink(missing_ok=True)


class _LineFile:
    """File of complete lines. Errors name the target."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._special = is_special_file(target)
        if not self._special:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        # Opened at once, so that a target that cannot be written to is found before the work.
        self._file = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._size = 0
        self.started = False

    def start(self) -> None:
        """Drop the earlier content."""
        if not self.started:
            self.started = True
            if stat.S_ISREG(os.fstat(self._file).st_mode) and not self._special:
                os.ftruncate(self._file, 0)

    def write(self, line: str) -> None:
        self.start()
        data = memoryview(f"{line}\n".encode())
        size = self._size + len(data)
        try:
            while data:  # a full disk accepts a part of the data before it fails
                data = data[os.write(self._file, data) :]
        except OSError as error:
            if error.errno != errno.EPIPE and not self._special:
                os.ftruncate(self._file, self._size)
            raise OSError(error.errno, error.strerror, self._target) from None
        self._size = size

    def close(self) -> None:
        os.close(self._file)
