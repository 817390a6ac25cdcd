"""JSON Lines output that is written while a command runs."""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data.atomic_files import atomic_path
from data.json_output import STDOUT, check_json_target


@contextmanager
def json_lines(target: str | None) -> Iterator[Callable[[str], None] | None]:
    """Yield a function that writes one line: to a file, or to stdout for "-"; None for None.

    A file is written to a temporary file and renamed at the end. On ctrl-C and on a full disk (of this file or of
    another one) the complete lines are kept and the error continues; on any other error the file is discarded.

    A path that is no regular file (a pipe, /dev/null) is written to directly, as a rename would replace it.
    """
    check_json_target(target)
    if target is None:
        yield None
    elif target == STDOUT:
        yield lambda line: print(line, flush=True, file=sys.stdout)
    elif Path(target).exists() and not Path(target).is_file():
        with Path(target).open("w", encoding="utf-8") as file:
            yield lambda line: print(line, flush=True, file=file)
    else:
        end: KeyboardInterrupt | OSError | None = None
        with atomic_path(target) as temporary, temporary.open("wb", buffering=0) as file:
            lines = _Lines(file, target)
            try:
                yield lines.write
            except (KeyboardInterrupt, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.ENOSPC:
                    raise
                file.truncate(lines.size)
                end = error
        if end is not None:
            raise end


class _Lines:
    """Writes complete lines; errors name the target instead of the temporary file."""

    def __init__(self, file: BinaryIO, target: str) -> None:
        self._file, self._target = file, target
        self.size = 0

    def write(self, line: str) -> None:
        data = memoryview(f"{line}\n".encode())
        size = self.size + len(data)
        try:
            while data:  # a full disk accepts a part of the data before it fails
                data = data[self._file.write(data) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._target) from None
        self.size = size
