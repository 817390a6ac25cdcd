"""`pelee-data download`: fetch a public dataset."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.datasets.registry import FORMATS
from data.download.sources import SOURCES

if TYPE_CHECKING:
    from data.download.progress_callback import DownloadProgress


def add_download(commands: Any) -> None:
    """Add `download` to the subparsers of `pelee-data`."""
    download = commands.add_parser(
        "download",
        help="download VOC or COCO from the official addresses",
        description="Download, verify and unpack a dataset. An interrupted download continues where it stopped. "
        "Parts: " + "; ".join(f"{name}: {', '.join(source.parts)}" for name, source in SOURCES.items()) + ".",
    )
    download.add_argument("dataset", choices=tuple(SOURCES), help="the dataset")
    download.add_argument("--root", type=Path, help="the folder to unpack into (datasets/NAME)")
    download.add_argument("--parts", nargs="+", metavar="PART", default=[], help="parts to download (default: all)")
    download.add_argument("--base-url", default="", metavar="URL", help="a mirror that has the same paths")
    download.set_defaults(body=run_download)


def run_download(arguments: argparse.Namespace) -> int:
    """Download the parts and print a line for each."""
    from data.download.fetch_dataset import download

    source = SOURCES[arguments.dataset]
    arguments.root = arguments.root or Path(FORMATS[arguments.dataset].default_root)
    with _byte_bars() as progress:
        fetched = download(
            source, arguments.root, parts=arguments.parts, base_url=arguments.base_url, progress=progress
        )
    for name in arguments.parts or source.parts:
        print(f"{name}: {'unpacked into' if name in fetched else 'already in'} {arguments.root}")
    return 0


@contextmanager
def _byte_bars() -> "Iterator[DownloadProgress]":
    """Progress bars on a terminal's stderr, one a part and step, with bytes, rate and time left."""
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
