"""Event of a camera by a rule: its data, its JSON, the paths of its files, and the interface of its destinations."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self


class EventKind(StrEnum):
    """Kind of an event.

    `ENTERED`, `STAYED` and `APPEARED` last: they end when the object leaves the zone or the frame. `LEFT`, `CROSSED`
    and `VANISHED` are moments: their end is their start.
    """

    ENTERED = "entered"
    LEFT = "left"
    CROSSED = "crossed"
    STAYED = "stayed"
    APPEARED = "appeared"
    VANISHED = "vanished"


LASTING = frozenset({EventKind.ENTERED, EventKind.STAYED, EventKind.APPEARED})
DIRECTIONS = ("in", "out")


@dataclass(frozen=True, slots=True)
class TimedBox:
    """Box of an event's object at one time.

    Attributes:
        time: aware, UTC.
        box: x1, y1, x2, y2 in pixels of the event's frame.
        score: score of the detection, 0 to 1.
    """

    time: datetime
    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, slots=True)
class Event:
    """Event: what a rule found at a camera. Immutable; a later state of an event is a new object with the same id.

    Attributes:
        id: 32 lower-case hexadecimal digits; the same from the event's begin to its end, and unique among all runs.
        camera: name of the camera; letters, digits, "-" and "_".
        rule: name of the rule; the same characters.
        kind: kind of the event.
        label: class name of the object.
        track: number of the object at this camera in this run, from 1.
        zone: name of the zone, for `crossed` of the line; None without one.
        direction: for `crossed` "in" or "out": "in" is from the right to the left side of the line, as seen from its
            first point to its second; None for other kinds.
        start: aware, UTC; the time of the frame in which it began, which may be before it was certain.
        end: aware, UTC; None while the event lasts.
        score: highest score of its object so far, 0 to 1.
        width, height: of the frame in pixels, to which the boxes refer.
        boxes: boxes over time, oldest first; thinned for long events (`detection.watch.rules`).
    """

    id: str
    camera: str
    rule: str
    kind: EventKind
    label: str
    track: int
    zone: str | None
    direction: str | None
    start: datetime
    end: datetime | None
    score: float
    width: int
    height: int
    boxes: tuple[TimedBox, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a dict of plain values in the order of the attributes; times are ISO 8601 in UTC, end in "Z".

        A box is `{"time": "...", "box": [x1, y1, x2, y2], "score": 0.9}`.
        """
        return {
            "id": self.id,
            "camera": self.camera,
            "rule": self.rule,
            "kind": str(self.kind),
            "label": self.label,
            "track": self.track,
            "zone": self.zone,
            "direction": self.direction,
            "start": iso_time(self.start),
            "end": None if self.end is None else iso_time(self.end),
            "score": self.score,
            "width": self.width,
            "height": self.height,
            "boxes": [{"time": iso_time(one.time), "box": list(one.box), "score": one.score} for one in self.boxes],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the event of a dict that `to_json` made; KeyError, TypeError or ValueError for any other."""
        boxes = []
        for one in values["boxes"]:
            x1, y1, x2, y2 = map(float, one["box"])
            boxes.append(TimedBox(parse_time(one["time"]), (x1, y1, x2, y2), float(one["score"])))
        return cls(
            id=values["id"],
            camera=values["camera"],
            rule=values["rule"],
            kind=EventKind(values["kind"]),
            label=values["label"],
            track=int(values["track"]),
            zone=values["zone"],
            direction=values["direction"],
            start=parse_time(values["start"]),
            end=None if values["end"] is None else parse_time(values["end"]),
            score=float(values["score"]),
            width=int(values["width"]),
            height=int(values["height"]),
            boxes=tuple(boxes),
        )


class EventSink(Protocol):
    """Destination of events. All methods are called in one thread; for an event `begin`, `update`s, `finish`.

    Events of several cameras overlap. A method must return soon (it delays the events after it), and must not raise for
    a destination that is away.
    """

    def begin(self, event: Event) -> None:
        """Take a new event. Its two snapshots are written (`EventFiles`), its clip is not."""

    def update(self, event: Event) -> None:
        """Take a later state: a better snapshot, more boxes, or its end; at most about once a second for an event."""

    def finish(self, event: Event) -> None:
        """Take the last state, whose `end` is set; its files are complete.

        A source that has no packets, such as a USB camera, gives no clip. Called some seconds after the end of the
        event: its clip goes on until then.
        """

    def close(self) -> None:
        """Release everything, at the end of the run; every event is finished before."""


@dataclass(frozen=True, slots=True)
class EventFiles:
    """Paths of an event's files, `<folder>/<camera>/<YYYY-MM-DD>/<id>…`; the date is that of its start in UTC.

    Attributes:
        snapshot: best frame, JPEG.
        boxed_snapshot: the same frame with the object's box drawn.
        clip: MP4 with seconds before and after the event.
    """

    snapshot: Path
    boxed_snapshot: Path
    clip: Path

    @classmethod
    def of(cls, folder: Path, event: Event) -> Self:
        """Return the paths of an event; touches no disk."""
        base = folder / event.camera / event.start.astimezone(UTC).date().isoformat()
        return cls(base / f"{event.id}.jpg", base / f"{event.id}-boxes.jpg", base / f"{event.id}.mp4")


def iso_time(time: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with microseconds, "2026-01-31T22:14:05.250000Z"."""
    if time.tzinfo is None:
        raise ValueError("a time without a zone; expected an aware datetime")
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time with a zone; returns UTC; ValueError for any other text."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; expected a time such as 2026-01-31T22:14:05Z")
    return time.astimezone(UTC)
