"""Download of a public dataset, part by part."""

import hashlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from data.download.progress_callback import DownloadProgress
from data.download.resumable_http import CHUNK, TIMEOUT, WAITS, ResumableFetch
from data.download.sources import DownloadPart, DownloadSource
from data.download.unpack import unpack_archive
from data.errors import DatasetError

STATE_FOLDER = ".downloads"  # in the root: incomplete archives, and a marker file for each complete part


def _silent(part: str, step: str, done: int, total: int | None) -> None:
    """Ignore progress."""


def download(
    source: DownloadSource,
    root: Path | str,
    *,
    parts: Sequence[str] = (),
    base_url: str = "",
    progress: DownloadProgress = _silent,
    waits: Sequence[float] = WAITS,
    timeout: float = TIMEOUT,
) -> list[str]:
    """Download and unpack parts of a dataset into `root`; return the names of those that were not there before.

    Args:
        source: one of `SOURCES`.
        root: the dataset's folder; VOC's archives create a VOCdevkit in it (a root of that name is that folder).
        parts: names of `source.parts`, all by default.
        base_url: another address that has the same paths, such as a mirror in the local network.
        progress: callback, in bytes.
        waits: seconds before each retry after an interrupted connection.
        timeout: seconds without a byte, after which a connection counts as interrupted.

    Raises:
        DatasetError: an unknown part, no network, a missing file, a wrong checksum, a full disk or an unsafe archive.
            Received bytes are kept, and the next call continues from there.
    """
    root = Path(root).expanduser()
    names = list(dict.fromkeys(parts)) or list(source.parts)
    for name in names:
        if name not in source.parts:
            raise DatasetError(f"unknown part {name!r}, expected some of {', '.join(source.parts)}")
    base = base_url or source.base_url
    if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise DatasetError(f"{base}: is no http:// or https:// address")
    if root.name == "VOCdevkit" and all(part.holds.startswith("VOCdevkit/") for part in source.parts.values()):
        root = root.parent
    state = root / STATE_FOLDER
    state.mkdir(parents=True, exist_ok=True)

    fetched = []
    for name in names:
        part = source.parts[name]
        archive, mark = state / part.file_name, state / f"{part.file_name}.done"
        if mark.exists() and (root / part.holds).exists():
            continue
        # An archive without ".part" was verified before it was renamed: only the unpacking was interrupted.
        if not archive.exists():
            url = base.rstrip("/") + "/" + part.path
            partial = state / f"{part.file_name}.part"
            fetch = ResumableFetch(name, url, part, partial, root, progress, timeout)
            fetch.run(waits)
            _check(name, part, partial, progress)
            partial.replace(archive)
            fetch.validator.unlink(missing_ok=True)
        unpack_archive(name, archive, root, progress)
        if not (root / part.holds).exists():
            raise DatasetError(f"{archive}: does not hold {part.holds}, expected the archive {part.path}")
        mark.write_text(f"{part.md5}\n", encoding="ascii")
        archive.unlink()  # it would double the disk space of the dataset
        fetched.append(name)
    return fetched


def _check(name: str, part: DownloadPart, partial: Path, progress: DownloadProgress) -> None:
    """Verify the file's MD5; a file that differs is deleted, as resuming cannot repair it."""
    digest = hashlib.md5(usedforsecurity=False)  # as published; it detects damage, not malice
    done, total = 0, partial.stat().st_size
    with partial.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(name, "check", done, total)
    if digest.hexdigest() != part.md5:
        partial.unlink()
        partial.with_name(partial.name + ".etag").unlink(missing_ok=True)
        raise DatasetError(
            f"{part.file_name}: MD5 is {digest.hexdigest()}, expected {part.md5}; "
            f"the {total:,} bytes were damaged or another file and are deleted, run the command again"
        )
