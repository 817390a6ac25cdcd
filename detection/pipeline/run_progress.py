"""Progress of a run: the protocol of its receivers, and progress bars of several sources on a terminal."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


REFRESH = 0.25  # seconds between two updates of a bar: each costs as much as an image


class Progress(Protocol):
    """Receiver of a run's progress, called in the caller's thread."""

    def start(self, name: str, total: int | None) -> None:
        """Begin a source of `total` images or frames; None where their number is not known."""

    def advance(self) -> None:
        """Count one image or frame."""

    def problem(self, line: str) -> None:
        """Report an error of one source."""

    def note(self, line: str) -> None:
        """Report a message that is no error."""


class ProgressBars:
    """Progress bars on stderr, if it is a terminal; problems and notes are printed in any case."""

    def __init__(self, shown: bool) -> None:
        """Take whether bars are wanted; they are not where JSON Lines go to the same terminal."""
        self._shown = shown and sys.stderr.isatty()
        self._progress: RichProgress | None = None
        self._task: TaskID | None = None
        self._steps, self._updated = 0, 0.0

    def start(self, name: str, total: int | None) -> None:
        """Begin a bar; `total` is None where the end is not known."""
        self._update()
        if self._progress is not None:
            self._task = self._progress.add_task("", total=total, name=name)

    def advance(self) -> None:
        """Count one image or frame."""
        self._steps += 1
        if self._progress is not None and time.monotonic() - self._updated > REFRESH:
            self._update()

    def problem(self, line: str) -> None:
        """Print one line: an error."""
        self.note(f"error: {line}")

    def note(self, line: str) -> None:
        """Print one line, above the bars."""
        if self._progress is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _update(self) -> None:
        """Draw the steps counted since the last update."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, self._steps)
            self._updated = time.monotonic()
        self._steps = 0

    def __enter__(self) -> Self:
        """Show the bars."""
        if self._shown:
            self._progress = _progress()
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop updating; the bars stay on the terminal."""
        self._update()
        if self._progress is not None:
            self._progress.stop()


def _progress() -> "RichProgress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.fields[name]}", markup=False),  # a name in brackets is no markup
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        refresh_per_second=1 / REFRESH,
        redirect_stdout=False,  # stdout is for JSON: rich would send it to stderr
        redirect_stderr=False,
    )
