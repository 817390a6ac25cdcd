"""Output folder of a batch: parts that are whole or absent, and the folder `_pelee` of plan, manifest and lock.

Readers of Parquet folders (Spark, pandas, pyarrow) leave out names that begin with an underscore.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import SettingsError
from data.files.file_lock import try_lock
from detection.batch.file_systems import is_remote, open_file_system, public_name

OWN = "_pelee"
LOCK = "lock"
TEMPORARY, ATTEMPT = ".tmp", ".attempt"


class OutputFolder:
    """A local folder, or one at an address (s3://, gs://).

    A file is written whole: locally under another name, synchronized with the disk, and renamed; at an address by one
    request. What is killed in between leaves no part.
    """

    def __init__(self, place: str) -> None:
        """Take the path or address of the folder."""
        self.place = place.rstrip("/") if is_remote(place) else os.path.abspath(place)  # noqa: PTH100
        self._system, self._path = open_file_system(self.place)

    def __str__(self) -> str:
        return public_name(self.place)

    def create(self) -> None:
        """Create the folder; OSError where it cannot be made or written to."""
        if is_remote(self.place):
            return
        if Path(self._path).exists() and not Path(self._path).is_dir():
            raise SettingsError(f"--output {self.place} is a file; name a folder")
        Path(self._path, OWN).mkdir(parents=True, exist_ok=True)

    def names(self, folder: str = "") -> set[str]:
        """Return the names of the files in the folder, or in a folder below it; none where it does not exist."""
        from pyarrow.fs import FileSelector

        where = f"{self._path}/{folder}" if folder else self._path
        return {info.base_name for info in self._system.get_file_info(FileSelector(where, allow_not_found=True))}

    def write(self, name: str, content: bytes) -> None:
        """Write a file; it is there whole, or an error is raised and nothing is."""
        if is_remote(self.place):
            with self._system.open_output_stream(f"{self._path}/{name}") as stream:
                stream.write(content)
            return
        temporary = Path(self._path, OWN, f"{uuid.uuid4().hex}{TEMPORARY}")
        target = Path(self._path, name)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from None
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        try:
            with self._system.open_input_stream(f"{self._path}/{name}") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def begin(self, part: str) -> int:
        """Record an attempt to write a part; return its number, from 1."""
        name = f"{OWN}/{part}{ATTEMPT}"
        number = int(self.read(name) or b"0") + 1
        self.write(name, str(number).encode())
        return number

    def end(self, part: str) -> None:
        """Forget the attempts to write a part."""
        with suppress(FileNotFoundError):
            self._system.delete_file(f"{self._path}/{OWN}/{part}{ATTEMPT}")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder, and remove what killed runs and workers left in `_pelee`. At an address there is no lock.

        Raises:
            SettingsError: another run has the lock.
        """
        if is_remote(self.place):
            with self._cleaned():
                yield
            return
        with Path(self._path, OWN, LOCK).open("a") as handle:
            if not try_lock(handle):
                raise SettingsError(
                    f"another pelee-batch writes to {self.place}; wait until it ends, or choose another --output"
                )
            with self._cleaned():
                yield

    @contextmanager
    def _cleaned(self) -> Iterator[None]:
        self._clean()
        yield
        self._clean()  # of workers that were killed in this run; not after an error, while others may still write

    def _clean(self) -> None:
        for name in self.names(OWN):
            if name.endswith((TEMPORARY, ATTEMPT)):
                with suppress(FileNotFoundError):
                    self._system.delete_file(f"{self._path}/{OWN}/{name}")
