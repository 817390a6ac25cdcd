"""Finds image files by the paths that annotation files give, also paths of another machine or operating system."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from data.images.image_io import IMAGE_SUFFIXES

#: Prefix that Label Studio gives to an uploaded file.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")


class FileFinder:
    """Finds listed image files; each folder is listed once instead of a stat call for each of 118,000 files.

    A listed path is looked up in this order: as it is below each folder, then without its first parts (paths of
    another machine), in any case of letters; then by its base name anywhere below `root`, where that is unique, also
    with another suffix of an image or without the prefix of Label Studio's uploads.

    Args:
        folders: folders that listed paths are relative to, in order of preference.
        root: folder that is searched by base name; hidden folders are skipped.
    """

    def __init__(self, folders: Sequence[Path], root: Path) -> None:
        self._folders = list(dict.fromkeys(folders))
        self._root = root
        self._listings: dict[Path, dict[str, str]] = {}
        self._names: dict[Path, frozenset[str]] = {}
        self._below: dict[str, list[Path]] | None = None
        self._found: dict[Path, str] = {}

    def find(self, listed: str) -> Path | None:
        """Return the path of a listed image.

        None where there is no such file, more than one by its base name, or one that another listed path has.
        """
        for folder in self._folders if listed else ():
            path = folder / listed
            if path.name in self._names_in(path.parent):
                self._found[path] = listed
                return path
        near = self._similar(listed)
        return None if near is None or self._found.setdefault(near, listed) != listed else near

    def _similar(self, listed: str) -> Path | None:
        parts = self._parts(listed)
        for start in range(len(parts)):
            for folder in self._folders:
                path = self._in_any_case(folder.joinpath(*parts[start:]))
                if path is not None:
                    return path
        return self._by_name(parts[-1]) if parts else None

    def _parts(self, listed: str) -> list[str]:
        """Split a path of any system, an address, or Label Studio's `/data/local-files/?d=PATH`."""
        text = unquote(listed.rpartition("?d=")[2]).replace("\\", "/")
        return [part for part in text.split("/") if part not in ("", ".", "..")]

    def _names_in(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            self._names[folder] = file_names(folder)
        return self._names[folder]

    def _in_any_case(self, path: Path) -> Path | None:
        folder = path.parent
        if folder not in self._listings:
            self._listings[folder] = {name.lower(): name for name in self._names_in(folder)}
        name = self._listings[folder].get(path.name.lower())
        return None if name is None or not (folder / name).is_file() else folder / name

    def _by_name(self, name: str) -> Path | None:
        if self._below is None:
            self._below = {}
            for folder, subfolders, names in os.walk(self._root):
                subfolders[:] = [sub for sub in subfolders if not sub.startswith(".")]
                for file in names:
                    path = Path(folder, file)
                    if not file.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES:
                        for key in {file.lower(), path.stem.lower()}:
                            self._below.setdefault(key, []).append(path)
        wanted = Path(name.lower())
        without_prefix = Path(_UPLOAD_PREFIX.sub("", wanted.name))
        for key in (wanted.name, wanted.stem, without_prefix.name, without_prefix.stem):
            found = self._below.get(key, [])
            if found:
                return found[0] if len(found) == 1 else None
        return None


def file_names(folder: Path) -> frozenset[str]:
    """Return the names of a folder's entries, by one directory listing; none where the folder does not exist."""
    try:
        return frozenset(entry.name for entry in os.scandir(folder))
    except OSError:
        return frozenset()
