"""What `pelee-detect` tells a person: bars while it works, a table at the end."""

import sys
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from detection.timing import StageTimer

if TYPE_CHECKING:
    from detection.pipeline import Summary

ROWS = 40  # more pictures than that are told by the argument that they came from


class Bars:
    """Progress bars on stderr, silent where that is no terminal; problems are lines above them, always."""

    def __init__(self, shown: bool) -> None:
        """Take whether bars are wanted; they are not where lines of JSON run through the same terminal."""
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[name]}", markup=False),  # a name in brackets is no colour
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
            redirect_stdout=False,  # stdout is for JSON: rich would send it to stderr
            redirect_stderr=False,
        )
        self._task: TaskID | None = None

    def start(self, name: str, total: int | None) -> None:
        """Begin a bar; `total` is None where the end is not known."""
        self._task = self._progress.add_task("", total=total, name=name)

    def advance(self) -> None:
        """One picture further."""
        if self._task is not None:
            self._progress.advance(self._task)

    def problem(self, line: str) -> None:
        """Print one line."""
        self._progress.console.print(Text(f"error: {line}"), soft_wrap=True)

    def __enter__(self) -> Self:
        """Show the bars."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave them as they are."""
        self._progress.stop()


def print_report(summaries: Sequence["Summary"], timer: StageTimer, to_stderr: bool) -> None:
    """Print how often each class was found in what, and how long each stage took."""
    console = Console(file=sys.stderr if to_stderr else sys.stdout, highlight=False)
    rows: dict[str, tuple[int, Counter[str]]] = {}
    grouped = len(summaries) > ROWS
    for summary in summaries:
        name = summary.item.given if grouped else summary.item.name
        frames, counts = rows.get(name, (0, Counter()))
        rows[name] = (frames + summary.frames, counts + summary.counts)

    table = Table()
    table.add_column("input", overflow="fold")
    table.add_column("pictures", justify="right")
    table.add_column("found")
    for name, (frames, counts) in rows.items():
        table.add_row(Text(name), str(frames), Text(_counted(counts)))
    if len(rows) > 1:
        total = sum((summary.counts for summary in summaries), Counter())
        table.add_section()
        table.add_row("in all", str(sum(summary.frames for summary in summaries)), Text(_counted(total)))
    console.print(table)

    medians = timer.medians()
    if medians:
        stages = ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in medians.items())
        rate = timer.pictures_per_second()
        console.print(Text(f"ms per picture (median): {stages}; {rate:.1f} pictures/s"), soft_wrap=True)


def _counted(counts: Counter[str]) -> str:
    """Return "3 person, 1 dog", the most frequent first."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
