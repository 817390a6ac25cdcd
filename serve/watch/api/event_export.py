"""Export of events: a zip file with their data, snapshots and clips, written while it is sent."""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detection.watch.event import Event, EventFiles

MOST_EVENTS = 500
CHUNK = 1 << 18  # bytes
EVENTS_NAME = "events.jsonl"


class _Outlet(io.RawIOBase):
    """Write-only file whose content is taken in pieces; zipfile then writes sizes after the content."""

    def __init__(self) -> None:
        self._content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._content += content
        return len(content)

    def take(self) -> bytes:
        content = bytes(self._content)
        self._content.clear()
        return content


def zip_of_events(folder: Path, events: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """Yield the bytes of a zip file: `events.jsonl`, and below <camera>/<date>/ the files of each event.

    Nothing is compressed: JPEG and MP4 are. A file that is removed meanwhile is left out.

    Args:
        folder: of the events' files.
        events: as `EventQueries.get` returns them.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        archive.writestr(EVENTS_NAME, lines, zipfile.ZIP_DEFLATED)
        yield outlet.take()
        for event in events:
            files = EventFiles.of(folder, Event.from_json({**event, "boxes": []}))
            for path in (files.snapshot, files.boxed_snapshot, files.clip):
                yield from _add(archive, path, path.relative_to(folder).as_posix(), outlet)
    yield outlet.take()


def _add(archive: zipfile.ZipFile, path: Path, name: str, outlet: _Outlet) -> Iterator[bytes]:
    try:
        source = path.open("rb")
    except OSError:
        return
    with source:
        info = zipfile.ZipInfo.from_file(path, name)
        with archive.open(info, "w", force_zip64=True) as target:
            while chunk := source.read(CHUNK):
                target.write(chunk)
                yield outlet.take()
    yield outlet.take()
