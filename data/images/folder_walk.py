"""Folder walk: the files of a folder and its subfolders, without hidden ones and without what is no regular file."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from data.errors import ImageError

#: Error of a pipe, a socket or a device that a folder or a pattern gives.
NO_FILE = "skipped, expected a file and found a pipe or a device"


def walk_files(folder: Path, suffixes: frozenset[str], on_error: Callable[[ImageError], None]) -> Iterator[Path]:
    """Yield the regular files of a folder with one of `suffixes`, in no particular order.

    Hidden files and folders are skipped, and links to folders are not followed.

    Args:
        folder: where to begin.
        suffixes: in lower case; names are compared without regard to case.
        on_error: called with an error for a subfolder that cannot be read, and for a pipe, socket or device, which
            would block its reader; may raise it.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        on_error(ImageError(f"{folder}: the folder cannot be read: {error.strerror or error}"))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk_files(folder / entry.name, suffixes, on_error)
        elif Path(entry.name).suffix.lower() in suffixes and not entry.is_dir():
            path = folder / entry.name
            if entry.is_file() or not path.exists():  # a broken link is an error of its reader
                yield path
            else:
                on_error(ImageError(f"{path}: {NO_FILE}"))
