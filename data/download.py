"""Fetch Pascal VOC and COCO from their official addresses: resumed where it was cut, checked, safely unpacked.

Nothing here runs unasked: only `pelee-data download` calls it.
"""

import errno
import hashlib
import http.client
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn, Protocol

from data.errors import DatasetError

CHUNK = 1 << 18  # bytes read at a time
WAITS = (1.0, 4.0, 15.0)  # seconds before each new try after a cut connection
TIMEOUT = 60.0  # seconds without a byte, after which a connection counts as cut
STATE_FOLDER = ".downloads"  # in the root: archives on their way, and a mark for each part that is complete


@dataclass(frozen=True, slots=True)
class Part:
    """One archive of a data set.

    Attributes:
        path: of the archive, below the data set's base address.
        md5: of the archive, 32 hexadecimal digits, as its publishers or the field's libraries give it.
        holds: a file or folder, relative to the root, that is there once the archive is unpacked.
        growth: size of what is unpacked over the size of the archive, for the check of the disk.
    """

    path: str
    md5: str
    holds: str
    growth: float = 1.1

    @property
    def file_name(self) -> str:
        """The archive's own name."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class Source:
    """A data set's address and its parts by name."""

    base_url: str
    parts: Mapping[str, Part]


SOURCES = {
    "voc": Source(
        "http://host.robots.ox.ac.uk/pascal/VOC/",
        {
            "2007-trainval": Part(
                "voc2007/VOCtrainval_06-Nov-2007.tar",
                "c52e279531787c972589f7e41ab4ae64",
                "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt",
            ),
            "2007-test": Part(
                "voc2007/VOCtest_06-Nov-2007.tar",
                "b6e924de25625d8de591ea690078ad9f",
                "VOCdevkit/VOC2007/ImageSets/Main/test.txt",
            ),
            "2012-trainval": Part(
                "voc2012/VOCtrainval_11-May-2012.tar",
                "6cd6e144f989b92b3379bac3b3de84fd",
                "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt",
            ),
        },
    ),
    "coco": Source(
        "http://images.cocodataset.org/",
        {
            "train2017": Part("zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017"),
            "val2017": Part("zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", "val2017"),
            "annotations": Part(
                "annotations/annotations_trainval2017.zip",
                "f4bbac642086de4f52a3fdda2de5fa2c",
                "annotations/instances_val2017.json",
                growth=4.0,
            ),
        },
    ),
}


class Progress(Protocol):
    """Told how far a part is: `step` is "download", "check" or "unpack", `total` None where it is not known."""

    def __call__(self, part: str, step: str, done: int, total: int | None) -> None:
        """Take in that `done` of `total` bytes of this step are through."""


def _silent(part: str, step: str, done: int, total: int | None) -> None:
    """Progress for nobody."""


def download(
    source: Source,
    root: Path | str,
    *,
    parts: Sequence[str] = (),
    base_url: str = "",
    progress: Progress = _silent,
    waits: Sequence[float] = WAITS,
    timeout: float = TIMEOUT,
) -> list[str]:
    """Fetch and unpack parts of a data set into `root`; return the names of those that were not there before.

    Args:
        source: one of `SOURCES`.
        root: the data set's folder; VOC's archives make a VOCdevkit in it (a root of that name is that folder).
        parts: names of `source.parts`, all by default.
        base_url: another address that has the same paths, such as a mirror in one's own network.
        progress: told how far it is, in bytes.
        waits: seconds to wait before each new try after a cut connection.
        timeout: seconds without a byte until a connection counts as cut.

    Raises:
        DatasetError: one line, for an unknown part, no network, a missing file, a wrong checksum, a full disk or an
            archive that must not be unpacked. What was fetched stays, and the next call goes on from there.
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
        # An archive without ".part" was checked before it got its name: only the unpacking was cut off.
        if not archive.exists():
            url = base.rstrip("/") + "/" + part.path
            partial = state / f"{part.file_name}.part"
            fetch = _Fetch(name, url, part, partial, root, progress, timeout)
            fetch.run(waits)
            _check(name, part, partial, progress)
            partial.replace(archive)
            fetch.validator.unlink(missing_ok=True)
        _unpack(name, archive, root, progress)
        if not (root / part.holds).exists():
            raise DatasetError(f"{archive}: does not hold {part.holds}, expected the archive {part.path}")
        mark.write_text(f"{part.md5}\n", encoding="ascii")
        archive.unlink()  # it would double what the data set takes
        fetched.append(name)
    return fetched


class _Cut(Exception):
    """The connection ended early; what came is on the disk, and asking again may help."""


@dataclass(frozen=True, slots=True)
class _Fetch:
    """The way of one archive to its `.part` file."""

    name: str
    url: str
    part: Part
    partial: Path
    root: Path
    progress: Progress
    timeout: float

    @property
    def validator(self) -> Path:
        """The file with the ETag or date of what the partial file is a piece of."""
        return self.partial.with_name(self.partial.name + ".etag")

    def run(self, waits: Sequence[float]) -> None:
        """Fetch until the file is whole; a connection that got further than all before earns its tries again."""
        tries, furthest = 0, self._have()
        while True:
            try:
                self._once()
                return
            except _Cut as cut:
                tries = 1 if self._have() > furthest else tries + 1
                furthest = max(furthest, self._have())
                if tries > len(waits):
                    raise DatasetError(
                        f"{self.url}: {cut} after {self._have():,} bytes; "
                        "check the network and run the command again, it goes on from there"
                    ) from None
                time.sleep(waits[tries - 1])

    def _have(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _once(self) -> None:
        """One connection."""
        have = self._have()
        request = urllib.request.Request(self.url, headers={"User-Agent": "pelee-data"})
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self.validator.exists():  # the server sends the whole file where it is another one by now
                request.add_header("If-Range", self.validator.read_text(encoding="latin-1"))
        try:
            response = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                if error.headers.get("Content-Range", "") != f"bytes */{have}":
                    self.partial.unlink()  # longer than the file: no piece of it
                    raise _Cut("the server has a shorter file") from None
                return
            if error.code == 429 or error.code >= 500:
                raise _Cut(f"the server answered {error.code} {error.reason}") from None
            raise DatasetError(
                f"{self.url}: the server answered {error.code} {error.reason}; "
                "look for the file's new address and give it with --base-url"
            ) from None
        except urllib.error.URLError as error:
            if have:  # it could be reached before
                raise _Cut(str(error.reason)) from None
            raise DatasetError(f"{self.url}: cannot be reached ({error.reason}); check the network") from None
        except (http.client.HTTPException, OSError) as error:
            raise _Cut(str(error) or type(error).__name__) from None
        with response:
            resumed = response.status == 206 and self._begins_at(response, have)
            if response.status == 206 and not resumed:
                self.partial.unlink(missing_ok=True)
                raise _Cut("the server sent another range than asked for")
            self._write(response, have if resumed else 0)

    @staticmethod
    def _begins_at(response: http.client.HTTPResponse, have: int) -> bool:
        return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")

    def _write(self, response: http.client.HTTPResponse, have: int) -> None:
        """Append what comes to the first `have` bytes of the partial file."""
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        if total is not None:
            _check_space(self.root, total - have + int(total * self.part.growth), self.part)
        with _disk(self.partial), self.partial.open("ab" if have else "wb") as file:
            tag = response.headers.get("ETag", "")
            tag = response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
            if tag:
                self.validator.write_text(tag, encoding="latin-1")
            else:
                self.validator.unlink(missing_ok=True)
            done = have
            self.progress(self.name, "download", done, total)
            while done != total and (chunk := self._read(response)):
                file.write(chunk)
                done += len(chunk)
                self.progress(self.name, "download", done, total)
        if total is not None and done < total:
            raise _Cut("the connection was cut")

    @staticmethod
    def _read(response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read(CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise _Cut(str(error) or "the connection was cut") from None


def _check(name: str, part: Part, partial: Path, progress: Progress) -> None:
    """Compare the file's MD5; one that differs is deleted, as no resume could mend it."""
    digest = hashlib.md5(usedforsecurity=False)  # what the publishers give; it finds damage, not malice
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


def _unpack(name: str, archive: Path, root: Path, progress: Progress) -> None:
    """Unpack a .tar or .zip below `root`; nothing of it may come to lie anywhere else."""
    total = archive.stat().st_size
    with _disk(root):
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


def _unpack_zip(name: str, archive: Path, root: Path, progress: Progress) -> None:
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        for member in members:  # all of them before the first is written
            path, mode = member.filename, member.external_attr >> 16
            windows = PureWindowsPath(path)  # takes / and \ for separators, and knows drives
            if windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts or stat.S_ISLNK(mode):
                raise DatasetError(f"{archive}: holds {path!r}, which leads out of the folder; nothing is unpacked")
        done, total = 0, sum(member.file_size for member in members)
        for member in members:
            zipped.extract(member, root)
            done += member.file_size
            progress(name, "unpack", done, total)


def _check_space(root: Path, needed: int, part: Part) -> None:
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DatasetError(
            f"{root}: {free / 1e9:.1f} GB are free, {part.file_name} needs {needed / 1e9:.1f} GB "
            "for the archive and what is in it; free some space or choose another --root"
        )


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Name the full disk in one line, with what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):  # Windows has no EDQUOT
            _full(path)
        raise


def _full(path: Path) -> NoReturn:
    raise DatasetError(f"{path}: the disk is full; free some space and run the command again, it goes on from there")
