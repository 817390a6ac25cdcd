"""JSON Lines that grow while a command runs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import SettingsError
from data.files import atomic_path


@contextmanager
def json_lines(target: str | None) -> Iterator[Callable[[str], None] | None]:
    """Yield what takes one line after the other: a file, stdout for "-", nothing for None.

    A file is written aside and renamed at the end. Ctrl-C keeps what was written and goes on; an error drops it.

    A path that is no regular file (a pipe, /dev/null) is written to directly: nothing may be renamed onto it.
    """
    if target is None:
        yield None
    elif target == "-":
        yield lambda line: print(line, flush=True, file=sys.stdout)
    elif Path(target).is_dir():
        raise SettingsError(f"--json {target} is a folder; name a file, or - for stdout")
    elif Path(target).exists() and not Path(target).is_file():
        with Path(target).open("w", encoding="utf-8") as file:
            yield lambda line: print(line, flush=True, file=file)
    else:
        interrupt: KeyboardInterrupt | None = None
        with atomic_path(target) as aside, aside.open("w", encoding="utf-8") as file:
            try:
                yield lambda line: print(line, file=file)
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
