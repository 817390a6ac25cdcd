"""`pelee-data download`: fetch a public dataset."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.download.progress import Progress


PARTS = {"voc": ("2007-trainval", "2007-test", "2012-trainval"), "coco": ("train2017", "val2017", "annotations")}


def run_download(arguments: argparse.Namespace) -> int:
    from data.download.download import download
    from data.download.sources import SOURCES

    source = SOURCES[arguments.dataset]
    with _byte_bars() as progress:
        fetched = download(
            source, arguments.root, parts=arguments.parts, base_url=arguments.base_url, progress=progress
        )
    for name in arguments.parts or source.parts:
        print(f"{name}: {'unpacked into' if name in fetched else 'already in'} {arguments.root}")
    return 0


@contextmanager
def _byte_bars() -> "Iterator[Progress]":
    """A bar for each step of each part on a terminal's stderr, with bytes, rate and time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    tasks: dict[tuple[str, str], TaskID] = {}
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bars:

        def progress(part: str, step: str, done: int, total: int | None) -> None:
            if (part, step) not in tasks:
                if not console.is_terminal:
                    print(f"{part}: {step}", file=sys.stderr)
                tasks[part, step] = bars.add_task(f"{part} {step}", total=total, completed=done)
            bars.update(tasks[part, step], completed=done, total=total)

        yield progress
