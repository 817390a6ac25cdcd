"""Writer of tar shards in WebDataset's layout: the files of a sample follow each other and share their name's stem."""

import hashlib
import io
import tarfile
from pathlib import Path
from types import TracebackType
from typing import Self

from data.errors import SettingsError
from data.images.image_slice import Shard

_BLOCK = tarfile.BLOCKSIZE


class ShardWriter:
    """Writes samples into shards of limited size.

    Args:
        folder: folder of the shards.
        prefix: the shards are named `PREFIX-00000.tar` and so on.
        limit: largest size of a shard in bytes.
    """

    def __init__(self, folder: Path, prefix: str, limit: int) -> None:
        self._folder, self._prefix, self._limit = folder, prefix, limit
        self._paths: list[Path] = []
        self._tar: tarfile.TarFile | None = None
        self._size = 0  # of the open shard, without its end

    def add(self, files: dict[str, bytes]) -> tuple[int, list[int]]:
        """Append the files of a sample, by name; returns the shard's number and the position of each content in it.

        Raises:
            SettingsError: a sample that is larger than a shard.
        """
        needed = sum(_BLOCK + _padded(len(content), _BLOCK) for content in files.values())
        if _complete(needed) > self._limit:
            raise SettingsError(
                f"{next(iter(files))} needs a shard of {_complete(needed)} bytes, more than the {self._limit} of "
                "--shard-size; take larger shards or smaller images"
            )
        if self._tar is None or _complete(self._size + needed) > self._limit:
            self._next()
        assert self._tar is not None
        offsets = []
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            offsets.append(self._size + _BLOCK)
            self._tar.addfile(info, io.BytesIO(content))
            self._size += _BLOCK + _padded(len(content), _BLOCK)
        return len(self._paths) - 1, offsets

    def finish(self) -> list[Shard]:
        """Close the last shard and return all, with their sizes and checksums."""
        self._close()
        return [_measured(path) for path in self._paths]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tar is not None and self._tar.fileobj is not None:
            self._tar.fileobj.close()  # not the archive: that would write its end, to a disk that may be full

    def _next(self) -> None:
        self._close()
        path = self._folder / f"{self._prefix}-{len(self._paths):05}.tar"
        # No names in PAX headers: the position of a content is then the block after its header.
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._paths.append(path)
        self._size = 0

    def _close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None


def _padded(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _complete(size: int) -> int:
    """Return the size of a tar file with so many bytes of members: two empty blocks follow, to a whole record."""
    return _padded(size + 2 * _BLOCK, tarfile.RECORDSIZE)


def _measured(path: Path) -> Shard:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Shard(path, path.stat().st_size, digest)
