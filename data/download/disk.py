"""Disk space: the check before a download, and the error of a full disk."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from data.download.sources import DownloadPart
from data.errors import DatasetError


def check_space(root: Path, needed: int, part: DownloadPart) -> None:
    """Raise DatasetError where fewer than `needed` bytes are free for the archive and its contents."""
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DatasetError(
            f"{root}: {free / 1e9:.1f} GB are free, {part.file_name} needs {needed / 1e9:.1f} GB "
            "for the archive and what is in it; free some space or choose another --root"
        )


@contextmanager
def name_full_disk(path: Path) -> Iterator[None]:
    """Raise the error of a full disk as a `DatasetError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):  # Windows has no EDQUOT
            raise_full_disk(path)
        raise


def raise_full_disk(path: Path) -> NoReturn:
    """Raise the error of a full disk."""
    raise DatasetError(f"{path}: the disk is full; free some space and run the command again, it goes on from there")
