"""Inputs of a batch: folders, patterns, tar shards, Parquet files and lists -> entries of the plan."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import ImageError
from data.images.folder_walk import walk_files
from data.images.image_io import IMAGE_SUFFIXES
from detection.batch.file_systems import is_remote, list_remote, open_file_system, open_stream, public_name
from detection.video.source_names import local_path

TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")
LIST_SUFFIXES = (".txt", ".lst")
FOLDER_SUFFIXES = IMAGE_SUFFIXES | {".tar", ".tgz", ".parquet", ".pq"}
#: Names of columns that hold paths or addresses, in the order in which they are looked for.
PATH_COLUMNS = ("path", "url", "uri", "file", "filename", "file_name", "image_path", "image_url", "image", "source")


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """Source of images: an image, a tar shard, or a row group of a Parquet file.

    Attributes:
        kind: "image", "tar" or "parquet".
        source: absolute path, or address.
        images: number of images; -1 where it is not known before the source is read.
        row_group: number of a Parquet file's row group; -1 for the other kinds.
        first_row: number of its first row in the file.
        column: column with the bytes of the images.
    """

    kind: str
    source: str
    images: int = 1
    row_group: int = -1
    first_row: int = 0
    column: str = ""

    @property
    def key(self) -> str:
        """Text that is equal for equal sources."""
        return f"{self.kind}\0{self.source}\0{self.row_group}"


def find_entries(
    inputs: Sequence[str], output: str, column: str | None, on_problem: Callable[[str], None]
) -> Iterator[PlanEntry]:
    """Yield the entries that the arguments of the command name, in their order; some may come twice.

    Args:
        inputs: paths, patterns and addresses.
        output: folder of the results, which is skipped inside a folder of images.
        column: column of Parquet files with the images; None finds it.
        on_problem: called with one line for an argument or a file that cannot be used; the others go on.
    """
    finder = _Finder(os.path.abspath(output), column, on_problem)  # noqa: PTH100  an address stays as long as it is one
    for given in inputs:
        try:
            yield from finder.find(given)
        except (ImageError, OSError) as error:
            reason = str(error) if isinstance(error, ImageError) else f"{public_name(given)}: {_reason(error)}"
            on_problem(reason)


class _Finder:
    """Finder of the entries of one argument after the other."""

    def __init__(self, output: str, column: str | None, on_problem: Callable[[str], None]) -> None:
        self._output, self._column, self._on_problem = output, column, on_problem

    def find(self, given: str) -> Iterator[PlanEntry]:
        given = local_path(given)
        if is_remote(given):
            named = False
            for source in list_remote(given):
                if source == given or source.lower().partition("?")[0].endswith(tuple(FOLDER_SUFFIXES)):
                    named = True
                    yield from self._file(source)
            if not named:
                raise ImageError(f"{public_name(given)}: no images, tar shards or Parquet files")
        elif Path(given).is_dir():
            yield from self._folder(given)
        elif Path(given).exists():
            yield from self._file(_absolute(given))
        else:
            matches = sorted(glob.glob(given, recursive=True)) if glob.has_magic(given) else []  # noqa: PTH207
            if not matches:
                kind = "nothing matches" if glob.has_magic(given) else "no such file or folder"
                raise ImageError(f"{given}: {kind}")
            for match in matches:
                if Path(match).is_dir():
                    yield from self._folder(match)
                elif Path(match).suffix.lower() in FOLDER_SUFFIXES | set(LIST_SUFFIXES) | {".gz"}:
                    yield from self._file(_absolute(match))

    def _folder(self, folder: str) -> Iterator[PlanEntry]:
        walked = walk_files(Path(folder), FOLDER_SUFFIXES, lambda error: self._on_problem(str(error)))
        for path in walked:
            source = _absolute(path)
            if not source.startswith(self._output + os.sep):
                yield from self._file(source)

    def _file(self, source: str, listed: bool = False) -> Iterator[PlanEntry]:
        """Yield the entries of one file; a list inside a list is not read."""
        path = source.lower().partition("?")[0] if is_remote(source) else source.lower()
        if path.endswith(TAR_SUFFIXES):
            yield PlanEntry("tar", source, -1)
        elif path.endswith(PARQUET_SUFFIXES):
            yield from self._parquet(source)
        elif path.endswith(LIST_SUFFIXES) and not listed:
            yield from self._list(source)
        else:
            yield PlanEntry("image", source)

    def _list(self, source: str) -> Iterator[PlanEntry]:
        with open_stream(source) as file:
            for line in _lines(file):
                if text := line.decode("utf-8", "surrogateescape").strip():
                    yield from self._file(_relative(text, source), listed=True)

    def _parquet(self, source: str) -> Iterator[PlanEntry]:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile

        system, path = open_file_system(source)
        try:
            file = ParquetFile(path, filesystem=system)
        except ArrowInvalid as error:
            self._on_problem(f"{public_name(source)}: is no Parquet file: {_reason(error)}")
            return
        with file:
            column, has_bytes = _image_column(file.schema_arrow, self._column, public_name(source))
            if not has_bytes:
                for batch in file.iter_batches(columns=[column]):
                    for text in batch.column(0).to_pylist():
                        if text:
                            yield PlanEntry("image", _relative(text, source))
                return
            first = 0
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                yield PlanEntry("parquet", source, rows, number, first, column)
                first += rows


def _image_column(schema: Any, wanted: str | None, name: str) -> tuple[str, bool]:
    """Return the column of the images as its dotted path, and whether it holds bytes (else paths or addresses)."""
    from pyarrow import types

    def is_bytes(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)

    def is_text(kind: Any) -> bool:
        return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)

    def is_encoded(kind: Any) -> bool:
        """Whether it is a struct with the bytes of an image, as Hugging Face's datasets write."""
        return types.is_struct(kind) and any(field.name == "bytes" and is_bytes(field.type) for field in kind)

    kinds = {field.name: field.type for field in schema}
    if wanted is not None:
        if wanted not in kinds:
            raise ImageError(f"{name}: has no column {wanted!r}, expected one of {', '.join(kinds)}")
        names = [wanted]
    else:
        names = [key for key in kinds if is_bytes(kinds[key]) or is_encoded(kinds[key])]
        names = names or [key for key in PATH_COLUMNS if key in kinds and is_text(kinds[key])][:1]
    if len(names) != 1:
        found = f"several columns with bytes ({', '.join(names)})" if names else f"no images in {', '.join(kinds)}"
        raise ImageError(f"{name}: {found}; name the column of the images by --column")
    kind = kinds[names[0]]
    if is_encoded(kind):
        return f"{names[0]}.bytes", True
    if not is_bytes(kind) and not is_text(kind):
        raise ImageError(f"{name}: column {names[0]!r} holds {kind}, expected bytes of images, paths or addresses")
    return names[0], is_bytes(kind)


def _lines(file: Any) -> Iterator[bytes]:
    """Yield the lines of a binary stream, which may be pyarrow's, in pieces."""
    rest = b""
    while piece := file.read(1 << 20):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest


def _relative(text: str, file: str) -> str:
    """Return a path or address in a file, relative to the folder of that file."""
    text = local_path(text)
    if is_remote(text):
        return text
    if is_remote(file):
        return f"{file.partition('?')[0].rpartition('/')[0]}/{text}"
    return _absolute(os.path.join(os.path.dirname(file), text))  # noqa: PTH118, PTH120


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  without following links: each link is an image of its own


def _reason(error: Exception) -> str:
    return ((error.strerror if isinstance(error, OSError) else None) or str(error)).splitlines()[0]
