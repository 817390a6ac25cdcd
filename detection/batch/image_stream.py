"""Images of a part, one after the other: files, addresses, members of tar shards, rows of Parquet files."""

import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from tarfile import HeaderError

from data.errors import ImageError
from data.images.image_io import IMAGE_SUFFIXES
from detection.batch.batch_inputs import PlanEntry
from detection.batch.file_systems import MAX_BYTES, is_remote, open_file_system, open_stream, public_name, read_bytes

ROWS = 16  # rows of a Parquet file in memory


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """Image that is not decoded yet.

    Attributes:
        name: its name in the results: path, address without keys, `shard.tar/name.jpg`, or `file.parquet#row`.
        content: bytes of the file, a local path, or the reason why there are none.
        address: address to read the bytes from; empty where `content` is all.
    """

    name: str
    content: bytes | str | ImageError = b""
    address: str = ""

    @property
    def label(self) -> str:
        """Begin of the error messages of `data.images.image_io.read_image` for this image."""
        return f"image of {len(self.content)} bytes" if isinstance(self.content, bytes) else str(self.content)


def stream_images(entries: Iterable[PlanEntry]) -> Iterator[EncodedImage]:
    """Yield the images of the entries. A damaged shard yields its error after the images before the damage.

    Raises:
        OSError: a shard or a Parquet file that cannot be read: the part is to be tried again.
    """
    for entry in entries:
        yield from STREAMS[entry.kind](entry)


def fetch(image: EncodedImage) -> EncodedImage:
    """Return an image with its bytes in place of its address; ImageError where they cannot be read."""
    return EncodedImage(image.name, read_bytes(image.address)) if image.address else image


def _image(entry: PlanEntry) -> Iterator[EncodedImage]:
    if is_remote(entry.source):
        yield EncodedImage(public_name(entry.source), address=entry.source)
    else:
        yield EncodedImage(entry.source, entry.source)


def _tar(entry: PlanEntry) -> Iterator[EncodedImage]:
    """Yield the images of a tar shard, which is read as a stream; its other members are passed over."""
    name = public_name(entry.source)
    count = 0
    with open_stream(entry.source) as file:
        try:
            with _Tar.open(fileobj=file, mode="r|*") as tar:
                for member in tar:
                    path = PurePosixPath(member.name)
                    if not member.isfile() or path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
                        continue
                    content = None if member.size > MAX_BYTES else tar.extractfile(member)
                    count += 1
                    if content is None:
                        yield EncodedImage(f"{name}/{path}", ImageError(f"more than {MAX_BYTES} bytes"))
                    else:
                        yield EncodedImage(f"{name}/{path}", content.read())
                if not tar.ended:
                    raise tarfile.ReadError("it has no end")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            reason = f"the archive is damaged after {count} images: {str(error) or type(error).__name__}"
            yield EncodedImage(name, ImageError(reason))


def _parquet(entry: PlanEntry) -> Iterator[EncodedImage]:
    from pyarrow.parquet import ParquetFile

    system, path = open_file_system(entry.source)
    row = entry.first_row
    # Columns are read page by page, not as a whole: a row group may have gigabytes.
    with ParquetFile(path, filesystem=system, pre_buffer=False, buffer_size=1 << 20) as file:
        for batch in file.iter_batches(ROWS, row_groups=[entry.row_group], columns=[entry.column]):
            column = batch.column(0)
            for value in column.to_pylist():
                content = value.get("bytes") if isinstance(value, dict) else value
                name = f"{public_name(entry.source)}#{row}"
                yield EncodedImage(name, ImageError("null in place of an image") if content is None else content)
                row += 1


class _Header(tarfile.TarInfo):
    """Header that notes the end of its archive: tarfile takes an archive that is cut off between two files as whole."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            assert isinstance(tarfile, _Tar)
            tarfile.ended = type(error).__name__ == "EOFHeaderError"  # a class without documentation
            raise


class _Tar(tarfile.TarFile):
    """Archive that knows whether its end was read."""

    tarinfo = _Header
    ended = False


STREAMS: dict[str, Callable[[PlanEntry], Iterator[EncodedImage]]] = {
    "image": _image,
    "tar": _tar,
    "parquet": _parquet,
}
