"""Progress bar on stderr, for commands whose stdout may be data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(name: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs, if stderr is a terminal; yields a function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
        redirect_stdout=False,  # stdout is for JSON: rich would send it to stderr
    ) as progress:
        task = progress.add_task(name, total=total)
        yield lambda count: progress.advance(task, count)
