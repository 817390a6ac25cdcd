"""Atomic file writes: a temporary file in the same folder is renamed when it is complete."""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DESCRIPTOR = re.compile(r"/dev/fd/\d+|/proc/(self|thread-self|\d+)/fd/\d+")
_LINKS = 40  # as many as Linux follows
_STEM = 32  # characters of a temporary file's name that are taken from the target: file names end at 255 bytes


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` when the block ends without an error.

    Parent folders are created. On an error (a full disk, a signal that raises) the temporary file is removed and
    `path` is unchanged. The temporary path has the suffix of `path`, for writers that choose the format by it.

    A symbolic link stays, and the file that it points to is replaced; an existing file keeps its permissions. A special
    file (a device, a pipe, /dev/stdout) is not replaced: the complete content is written to it.
    """
    path = Path(path)
    if special := is_special_file(path):
        folder = Path(tempfile.gettempdir())
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path = Path(os.path.realpath(path))  # its folder is not made: the disk may not be mounted
        folder = path.parent
    suffix = path.suffix if len(path.suffix) <= _STEM else ""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:_STEM]}.", suffix=suffix, dir=folder)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if special:
            with temporary.open("rb") as source, path.open("ab", buffering=0) as target:
                shutil.copyfileobj(source, target)
        else:
            temporary.chmod(_permissions(path))  # mkstemp creates private files
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_special_file(path: Path | str) -> bool:
    """Whether a path is a device, a pipe or a socket, or an open file of a process (/dev/stdout, /dev/fd/3), or a link
    to one of these.

    It must be written to and never be renamed over: root would replace a device, and the output of a redirection would
    be lost. Append to it: `/dev/stdout` may be a file that the shell has opened with `>>`.
    """
    place = os.path.abspath(path)  # noqa: PTH100  Path.absolute keeps ..
    for _ in range(_LINKS):
        if _DESCRIPTOR.fullmatch(place):
            return True
        try:
            link = os.readlink(place)  # noqa: PTH115  one link at a time
        except OSError:
            break
        place = os.path.normpath(os.path.join(os.path.dirname(place), link))  # noqa: PTH118, PTH120
    return Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir())


def _permissions(path: Path) -> int:
    """Permissions of an existing file; for a new one those that the umask leaves."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
