"""Record of a run, `run.json`: written when a training begins, and read when it is resumed or finished."""

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path
from data.errors import DatasetError, PeleeError

RECORD = "run.json"


@dataclass(frozen=True)
class BegunRun:
    """Command that began a run.

    Attributes:
        command: the command line.
        folder: the working directory; None in records of earlier versions.
        settings: all settings of the run.
    """

    command: str
    folder: Path | None
    settings: Mapping[str, Any]

    @property
    def arguments(self) -> list[str]:
        """The command's arguments."""
        return shlex.split(self.command)[1:]

    def locate(self, path: Path) -> Path:
        """Return a path of the command as it is seen from here; unchanged where it exists here or not there."""
        there = path if self.folder is None else self.folder / path
        return there if there.exists() and not path.exists() else path


def read_begun(folder: Path, prog: str) -> BegunRun | None:
    """Read the command that began the run in a folder; None without a record.

    Raises:
        DatasetError: the record is damaged, or of another command than `prog`.
    """
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        command, begun_in, settings = str(record["command"]), record.get("folder"), dict(record["settings"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{file} is damaged ({error}); remove it and give the command that began the run") from None
    if command.partition(" ")[0] != prog:
        raise DatasetError(f"{folder} is a run of {command.partition(' ')[0]}, not of {prog}")
    return BegunRun(command, None if begun_in is None else Path(begun_in), settings)


@contextmanager
def record_run(
    folder: Path, *, command: str, model: str, dataset: str, settings: Mapping[str, Any], started_from: str | None
) -> Iterator[None]:
    """Context manager that writes `run.json` at the start of training, before a model card exists.

    The keys are those of the card, and the working directory. A run with a checkpoint keeps its record: it is resumed,
    or not overwritten. A training that fails before its first step leaves no record.
    """
    file = folder / RECORD
    if (folder / "last.ckpt").is_file():
        yield
        return
    record = {"command": command, "folder": str(Path.cwd()), "model": model, "dataset": dataset, "settings": settings}
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps({**record, "started_from": started_from}, indent=2) + "\n", encoding="utf-8")
    try:
        yield
    except PeleeError:
        if not (folder / "logs").exists():
            file.unlink(missing_ok=True)
            with suppress(OSError):  # the folder holds other files
                folder.rmdir()
        raise
