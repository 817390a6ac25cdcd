"""Recorder: a thread that writes snapshots and clips of events, and passes the events on to their sink."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from data.errors import PeleeError
from detection.watch.event import Event, EventFiles, EventSink
from detection.watch.recording.clip import Clip
from detection.watch.recording.packet_ring import PacketRing
from detection.watch.recording.snapshot import write_snapshots
from detection.watch.rules import EventChange, EventStage
from detection.watch.settings import RecordingSettings

TICK = 0.25  # seconds between two looks at clips and snapshots
UPDATES = 1.0  # seconds between two updates of an event
LAG = 4.0  # seconds by which a clip is behind: the end of an event is certain when its object is gone
MARGIN = 0.5  # seconds that the last packets of a clip may take to come
QUIET = 60.0  # seconds between two messages of failed files: a full disk fails every one


@dataclass(frozen=True, slots=True)
class _Job:
    """Change of an event, and what its snapshots and clip are made of."""

    change: EventChange
    image: np.ndarray | None
    ring: PacketRing | None


@dataclass(slots=True, eq=False)
class _Recording:
    """Event that is not finished."""

    event: Event
    files: EventFiles
    start: float
    clip: Clip | None
    end: float | None = None
    pending: _Job | None = None  # a better view, not yet written
    updated: float = 0.0


class Recorder:
    """Thread of all snapshots, clips and sink calls, so that a slow disk delays no frame.

    Times are those of `time.monotonic()`, as `EventChange.time`.
    """

    def __init__(self, folder: Path, settings: RecordingSettings, sink: EventSink, note: Callable[[str], None]) -> None:
        """Start the thread.

        Args:
            folder: of the events' files.
            settings: seconds before and after an event.
            sink: gets all events; closed by `close`.
            note: gets messages for the user, a line each, in the thread.
        """
        self._folder, self._settings, self._sink, self._note = folder, settings, sink, note
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._open: dict[str, _Recording] = {}
        self._noted = float("-inf")
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def put(self, change: EventChange, image: np.ndarray | None, ring: PacketRing | None) -> None:
        """Take a change of an event; returns at once.

        Args:
            change: as the rule engine returns it, in its order.
            image: (H, W, 3) uint8 RGB frame in which the object is at `change.box`; None for none.
            ring: packets of the camera; None for a camera without.
        """
        self._jobs.put(_Job(change, image, ring))

    def close(self) -> None:
        """Finish all events, whose ends have been put, close clips, the sink and the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            try:
                job = self._jobs.get(timeout=TICK)
                while job is not None:
                    self._safely(self._take, job)
                    job = self._jobs.get_nowait()
                running = False
            except Empty:
                pass
            for one in list(self._open.values()):
                self._safely(self._advance, one, time.monotonic(), not running)
        self._safely(self._sink.close)

    @staticmethod
    def _safely(step: Callable[..., None], *arguments: object) -> None:
        """A bug in one event must not end the others; it is logged with its traceback."""
        try:
            step(*arguments)
        except Exception:
            logging.getLogger(__name__).exception("an event failed")

    def _take(self, job: _Job) -> None:
        change = job.change
        if change.stage is EventStage.BEGIN:
            one = _Recording(change.event, EventFiles.of(self._folder, change.event), change.time, None)
            self._open[change.event.id] = one
            self._snapshot(one, job)
            if job.ring is not None:
                one.clip = Clip(one.files.clip, job.ring, change.time - self._settings.before)
            one.updated = time.monotonic()
            self._sink.begin(change.event)
            return
        found = self._open.get(change.event.id)
        if found is None:
            return
        found.event = change.event
        if change.stage is EventStage.UPDATE:
            found.pending = job if job.image is not None else found.pending
            return
        end = change.event.end or change.event.start
        found.end = found.start + (end - change.event.start).total_seconds()
        if end > change.event.start:  # the end of an event of a moment is known from its begin
            self._sink.update(change.event)

    def _advance(self, one: _Recording, now: float, last: bool) -> None:
        """Write what is due for an event; finish it when its clip is complete, or at the end of the run."""
        if one.pending is not None and (last or one.end is not None or now - one.updated >= UPDATES):
            job, one.pending = one.pending, None
            self._snapshot(one, job)
            one.updated = now
            if one.end is None:
                self._sink.update(one.event)
        longest = one.start + self._settings.longest
        until = longest if one.end is None else min(longest, one.end + self._settings.after)
        if one.clip is not None:
            self._file(one.clip.advance, until if one.end is not None else min(until, now - LAG))
            if now >= until + MARGIN or last:
                self._file(one.clip.close)
                one.clip = None
        if one.end is not None and (one.clip is None) and (now >= until + MARGIN or last):
            del self._open[one.event.id]
            self._sink.finish(one.event)

    def _snapshot(self, one: _Recording, job: _Job) -> None:
        if (image := job.image) is not None:
            self._file(write_snapshots, one.files, job.change.event, image, job.change.box)

    def _file(self, write: Callable[..., object], *arguments: object) -> None:
        """Write a file; what fails is said now and then, and the event goes on without it."""
        try:
            write(*arguments)
        except (PeleeError, OSError) as error:
            if time.monotonic() - self._noted >= QUIET:
                self._noted = time.monotonic()
                self._note(str(error))
