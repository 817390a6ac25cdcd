"""Unpacking of zip and tar archives."""

import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

from data.download.disk import name_full_disk
from data.download.progress_callback import DownloadProgress
from data.errors import DatasetError


def unpack_archive(name: str, archive: Path, root: Path, progress: DownloadProgress) -> None:
    """Unpack a .tar or .zip below `root`; DatasetError for a member that would be written outside of it."""
    total = archive.stat().st_size
    with name_full_disk(root):
        try:
            if archive.suffix == ".zip":
                _unpack_zip(name, archive, root, progress)
            else:
                with tarfile.open(archive, "r:") as tar:
                    for member in tar:
                        tar.extract(member, root, filter="data")
                        progress(name, "unpack", min(tar.offset, total), total)
        except tarfile.FilterError as error:
            raise DatasetError(f"{archive}: {error}; the archive is not to be trusted, unpacking stopped") from None
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DatasetError(
                f"{archive}: cannot be unpacked ({error}); delete it and run the command again"
            ) from None


def _unpack_zip(name: str, archive: Path, root: Path, progress: DownloadProgress) -> None:
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        for member in members:  # check all before the first is written
            path, mode = member.filename, member.external_attr >> 16
            windows = PureWindowsPath(path)  # splits at / and \, and recognizes drives
            if windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts or stat.S_ISLNK(mode):
                raise DatasetError(f"{archive}: holds {path!r}, which leads out of the folder; nothing is unpacked")
        done, total = 0, sum(member.file_size for member in members)
        for member in members:
            zipped.extract(member, root)
            done += member.file_size
            progress(name, "unpack", done, total)
