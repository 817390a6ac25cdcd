"""Scenes for tests of the watch: settings with a zone and a line, a film of a red rectangle, a sink that remembers."""

import threading
from fractions import Fraction
from pathlib import Path

from detection.video.video_writer import video_writer
from detection.watch.event import Event, EventKind
from detection.watch.settings import CameraSettings, RecordingSettings, RuleSettings, WatchSettings
from detection.watch.shapes import LineSettings, ZoneSettings
from tests.support.rectangle_session import DARK, RED, picture

RATE = 20
RIGHT_HALF = ZoneSettings(((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)))
MIDDLE = LineSettings(((0.5, 0.0), (0.5, 1.0)))


def watch_settings(source: str = "test", **changes: object) -> WatchSettings:
    """Return the settings of one camera with a zone on the right and a line in the middle; rules of all kinds."""
    values: dict = {"tiles": "off", "rate": float(RATE), "zones": {"right": RIGHT_HALF}, "lines": {"middle": MIDDLE}}
    camera = CameraSettings(source, **(values | changes))
    rules = {
        "zone": RuleSettings(labels=("red thing",), kinds=(EventKind.ENTERED, EventKind.LEFT)),
        "line": RuleSettings(labels=("red thing",), kinds=(EventKind.CROSSED,)),
        "seen": RuleSettings(labels=("red thing",), kinds=(EventKind.APPEARED, EventKind.VANISHED)),
        "stay": RuleSettings(kinds=(EventKind.STAYED,), min_seconds=0.5, zones=("right",)),
    }
    return WatchSettings({"yard": camera}, rules, recording=RecordingSettings(before=0.5, after=0.5))


def walk(path: Path, seconds: float = 3.0, width: int = 256, height: int = 128) -> Path:
    """Write a film in which a red rectangle is absent, goes from the left to the right, stays there, and is gone.

    It is there from 1/6 to 5/6 of the time, and on the right from the middle of its way, 2/6, on.
    """
    frames = round(seconds * RATE)
    with video_writer(path, (width, height), Fraction(RATE)) as writer:
        for index in range(frames):
            share = index / frames * 6
            x = 10 + round(min(1.0, (share - 1) / 2) * (width - 80))
            there = 1 <= share < 5
            writer.write(picture(width, height, (x, 40, x + 48, 90), RED if there else DARK))
    return path


class EventMemory:
    """Sink that remembers all calls, as (method, event)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Event | None]] = []
        self.threads: set[str] = set()

    def _note(self, method: str, event: Event | None) -> None:
        self.calls.append((method, event))
        self.threads.add(threading.current_thread().name)

    def begin(self, event: Event) -> None:
        self._note("begin", event)

    def update(self, event: Event) -> None:
        self._note("update", event)

    def finish(self, event: Event) -> None:
        self._note("finish", event)

    def close(self) -> None:
        self._note("close", None)

    def events(self, method: str) -> list[Event]:
        return [event for name, event in self.calls if name == method and event is not None]
