"""JSON Lines file of finished events: each line is written once, and whole."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from serve.watch.deliveries.destination import DeliveryFailed, forever
from serve.watch.deliveries.outbox import Delivery
from serve.watch.settings import GIVE_UP_HOURS, Phase
from serve.watch.storage.event_store import DeliveryRoute

NAME = "json_lines"
TAIL = 8_000_000  # bytes at the end of the file in which a line that is written already is looked for
MOST_IDS = 50_000  # ids in memory


class EventLines:
    """File to which a line is appended for each finished event, `Event.to_json` and "interrupted".

    A line that a full disk or the end of the process has cut is removed before the next one. The file may be renamed
    (logrotate): each line opens it anew.
    """

    def __init__(self, path: Path) -> None:
        """Set up; nothing is opened."""
        self.path = path
        self.route = DeliveryRoute(NAME, (Phase.FINISH,), boxes=True)
        self.give_up_s = 3600 * GIVE_UP_HOURS
        self._written: set[str] | None = None  # ids of the file's latest lines; None: not read yet
        self._lock = threading.Lock()

    async def run(self, ready: Callable[[], None]) -> None:
        """Nothing to hold."""
        await forever()

    async def deliver(self, delivery: Delivery) -> None:
        """Append the line of an event unless the file has it; raises `DeliveryFailed`."""
        await asyncio.to_thread(self._append, delivery)

    def _append(self, delivery: Delivery) -> None:
        line = json.dumps(json.loads(delivery.body)["event"], ensure_ascii=False).encode() + b"\n"
        try:
            with self._lock:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if self._written is None or len(self._written) > MOST_IDS:
                    self._written = repair_lines(self.path)
                if delivery.event not in self._written:
                    append_whole(self.path, line)
                    self._written.add(delivery.event)
        except OSError as error:
            raise DeliveryFailed(f"{self.path}: {error.strerror or error}") from None


def append_whole(path: Path, line: bytes) -> None:
    """Append a line and wait until it is on the disk; OSError: the file is as it was."""
    with path.open("ab", buffering=0) as file:
        start = file.tell()
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "the disk is full")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(start)
            raise


def repair_lines(path: Path) -> set[str]:
    """Cut an incomplete last line off; returns the ids of the events in the last `TAIL` bytes."""
    if not path.exists():
        return set()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        begin = file.seek(max(size - TAIL, 0))
        lines = file.read().split(b"\n")
        if cut := len(lines[-1]):
            file.truncate(size - cut)
    found = set()
    for line in lines[bool(begin) : -1]:
        try:
            found.add(str(json.loads(line)["id"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
