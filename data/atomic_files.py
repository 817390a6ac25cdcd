"""Files that are whole or absent: what is in progress is written aside and renamed when it is complete."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it replaces `path` when the block ends without an error.

    Parent folders are made. On an error (a full disk, a kill that raises) the partial file is removed and
    whatever stood at `path` stays as it was. The suffix is kept, so that writers that go by it work.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)  # mkstemp makes private files; a result is as readable as any other file
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
