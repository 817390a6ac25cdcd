"""What `pelee-detect` tells a person: bars while it works, a table at the end."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from detection.outputs import Summary
    from detection.timing import StageTimer
    from detection.video.figures import Figures

ROWS = 40  # more pictures than that are told by the argument that they came from
REFRESH = 0.25  # seconds from one state of a bar to the next: each costs as much as a picture


class Bars:
    """Progress bars on stderr, silent where that is no terminal; problems are lines above them, always."""

    def __init__(self, shown: bool) -> None:
        """Take whether bars are wanted; they are not where lines of JSON run through the same terminal."""
        self._shown = shown and sys.stderr.isatty()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._steps, self._told = 0, 0.0

    def start(self, name: str, total: int | None) -> None:
        """Begin a bar; `total` is None where the end is not known."""
        self._tell()
        if self._progress is not None:
            self._task = self._progress.add_task("", total=total, name=name)

    def advance(self) -> None:
        """One picture further."""
        self._steps += 1
        if self._progress is not None and time.monotonic() - self._told > REFRESH:
            self._tell()

    def problem(self, line: str) -> None:
        """Print one line: an error."""
        self.note(f"error: {line}")

    def note(self, line: str) -> None:
        """Print one line, above the bars."""
        if self._progress is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _tell(self) -> None:
        """Let the bar catch up."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, self._steps)
            self._told = time.monotonic()
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
        """Leave them as they are."""
        self._tell()
        if self._progress is not None:
            self._progress.stop()


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.fields[name]}", markup=False),  # a name in brackets is no colour
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        refresh_per_second=1 / REFRESH,
        redirect_stdout=False,  # stdout is for JSON: rich would send it to stderr
        redirect_stderr=False,
    )


def print_report(
    summaries: Sequence["Summary"], timer: "StageTimer", seconds: float, runtime: str, to_stderr: bool
) -> None:
    """Print how often each class was found in what, how fast that went in `runtime`, and how long each stage took."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

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

    frames = sum(summary.frames for summary in summaries)
    if frames:
        lines = [f"{frames} pictures in {seconds:.2f} s: {frames / max(seconds, 1e-9):.1f} pictures/s on {runtime}"]
        stages = ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in timer.medians().items())
        lines.append(f"ms per picture (median; the stages overlap, and the network's is with its queue): {stages}")
        lines += [_live_line(summary.item.name, summary.figures) for summary in summaries if summary.figures]
        lines += [f"{summary.item.name}: {_tracks_line(summary.tracks)}" for summary in summaries if summary.tracks]
        console.print(Text("\n".join(lines)), soft_wrap=True)


def _live_line(name: str, figures: "Figures") -> str:
    """Return what a live source came to, in words."""
    return (
        f"{name}: {figures.captured.count} frames came, {figures.captured.overall():.1f}/s; looked at "
        f"{figures.looked_at.count}, {figures.looked_at.overall():.1f}/s; dropped {figures.dropped}; age when shown "
        f"{figures.age(50):.0f} ms (p50), {figures.age(99):.0f} ms (p99); reconnected {figures.reconnects} times"
    )


def _tracks_line(counts: dict[str, Any]) -> str:
    return "tracks " + json.dumps(counts)


def _counted(counts: Counter[str]) -> str:
    """Return "3 person, 1 dog", the most frequent first."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
