"""Events and stores for the tests of a watch's storage and deliveries, and conditions to wait for."""

import dataclasses
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from detection.watch.event import Event, EventFiles, EventKind, TimedBox
from serve.watch.settings import RetentionSettings, StoreSettings

START = datetime(2026, 3, 1, 22, 14, 5, 250000, tzinfo=UTC)


def store_settings(folder: Path, **values: Any) -> StoreSettings:
    """Settings of a store that keeps its events: those of the tests end soon after `START`, months ago."""
    return StoreSettings(folder=folder, **{"retention": RetentionSettings(days=None)} | values)


def make_event(number: int = 0, seconds: float = 0.0, **values: Any) -> Event:
    """A person that has entered the yard; `number` gives its id, `seconds` its start after `START`."""
    start = START + timedelta(seconds=seconds)
    event = Event(
        id=f"{number:032x}" if number else uuid.uuid4().hex,
        camera="yard",
        rule="people",
        kind=EventKind.ENTERED,
        label="person",
        track=1,
        zone="gate",
        direction=None,
        start=start,
        end=None,
        score=0.75,
        width=640,
        height=480,
        boxes=(TimedBox(start, (10.0, 20.0, 30.0, 60.0), 0.75),),
    )
    return dataclasses.replace(event, **values)


def ended(event: Event, seconds: float = 3.0) -> Event:
    """The event's last state."""
    end = event.start + timedelta(seconds=seconds)
    return dataclasses.replace(event, end=end, boxes=(*event.boxes, TimedBox(end, (11.0, 21.0, 31.0, 61.0), 0.5)))


def write_files(folder: Path, event: Event, clip: int = 1000, snapshot: int = 100) -> EventFiles:
    """Write the event's files, of these sizes; the snapshot's is that of both together."""
    files = EventFiles.of(folder, event)
    files.clip.parent.mkdir(parents=True, exist_ok=True)
    files.snapshot.write_bytes(b"s" * (snapshot // 2))
    files.boxed_snapshot.write_bytes(b"b" * (snapshot - snapshot // 2))
    files.clip.write_bytes(bytes(range(256)) * (clip // 256) + b"c" * (clip % 256))
    return files


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait until a condition holds, and return its value; an error after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.01)
    return value
