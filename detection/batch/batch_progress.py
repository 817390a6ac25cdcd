"""Progress of a batch on stderr: images, images per second and remaining time."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

INTERVAL = 60.0  # seconds between two lines where stderr is no terminal


class BatchProgress:
    """A bar on a terminal; elsewhere a line a minute."""

    def __init__(self, parts: int, images: int | None) -> None:
        """Take the number of parts to do, and of their images; None where it is not known."""
        self.images = self.failed = 0
        self._parts, self._total = parts, images
        self._done = 0
        self._begin = self._printed = time.monotonic()
        self._bar: Progress | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the start of the block."""
        return time.monotonic() - self._begin

    def part(self, images: int, failed: int) -> None:
        """Count a part, its images, and those of them that could not be read."""
        self.images += images
        self.failed += failed
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, text=self.status())
        elif time.monotonic() - self._printed >= INTERVAL:
            self._printed = time.monotonic()
            print(self.status(), file=sys.stderr, flush=True)

    def status(self) -> str:
        """Return images done, images per second, remaining time."""
        of = "" if self._total is None else f" of {self._total:,}"
        text = f"{self.images:,}{of} images"
        if not self._done:
            return text
        left = self.seconds / self._done * (self._parts - self._done)
        if self._total and self.images:
            left = self.seconds / self.images * max(0, self._total - self.images)
        return f"{text}, {self.images / self.seconds:,.0f} images/s, {duration(left)} left"

    def note(self, line: str) -> None:
        """Print a line, above the bar."""
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        """Begin to measure the time, and show the bar."""
        self._begin = self._printed = time.monotonic()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                BarColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                console=Console(stderr=True),
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.add_task("", total=self._parts, text=self.status())
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()


def duration(seconds: float) -> str:
    """Return a time in the two largest units: 8 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    whole = round(seconds)
    for unit, name, next_unit, next_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // next_unit} {next_name}"
    return f"{whole} s"
