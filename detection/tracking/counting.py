"""Counting of tracked objects: line crossings, objects in zones, objects in total.

`Counting` holds the lines and zones of all sources; each source has a `Tally` of its own.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from data.errors import SettingsError

if TYPE_CHECKING:
    from supervision import Detections


LINE, ZONE = "--line x1,y1,x2,y2", "--zone x1,y1,x2,y2,x3,y3[,...]"
SETTLE = 2  # consecutive frames on the other side of a line before a crossing counts: a jittering box does not cross


@dataclass(frozen=True, slots=True)
class Shape:
    """Line or zone of the command line.

    Attributes:
        text: as on the command line, for messages.
        points: corners, (x, y) each.
        relative: whether they are shares of the frame's width and height instead of pixels.
    """

    text: str
    points: tuple[tuple[float, float], ...]
    relative: bool

    @classmethod
    def parse(cls, option: str, text: str, corners: str) -> Self:
        """Parse "x1,y1,..."; shares where all numbers are from 0 to 1. `SettingsError` for anything else."""
        try:
            values = [float(part) for part in text.split(",")]
        except ValueError:
            values = []
        least = 2 if option == "--line" else 3
        fits = len(values) == 4 if option == "--line" else len(values) >= 6 and len(values) % 2 == 0
        if not fits or not all(math.isfinite(value) and value >= 0 for value in values):
            raise SettingsError(
                f"{option} {text!r}: expected {corners}, in pixels or all as shares of the frame from 0 to 1"
            )
        points = tuple(zip(values[::2], values[1::2], strict=True))
        if len(set(points)) < least or (option == "--zone" and _area(points) == 0):
            raise SettingsError(f"{option} {text!r}: these points make no {option[2:]}; expected {corners}")
        return cls(f"{option} {text}", points, max(values) <= 1)

    def pixels(self, size: tuple[int, int]) -> np.ndarray:
        """Return the corners in a frame of (width, height), (n, 2) float64; `SettingsError` where one is outside it."""
        points = np.array(self.points)
        if self.relative:
            return points * size
        if (points > size).any():
            x, y = points.max(0)
            raise SettingsError(
                f"{self.text!r} reaches to {x:g},{y:g}, and the frame is {size[0]}x{size[1]};"
                " give pixels inside it, or shares from 0 to 1"
            )
        return points


@dataclass(frozen=True, slots=True)
class Counting:
    """Lines and zones at which objects are counted."""

    lines: tuple[Shape, ...] = ()
    zones: tuple[Shape, ...] = ()

    @classmethod
    def parse(cls, lines: Sequence[str], zones: Sequence[str]) -> Self:
        """Parse the values of `--line` and `--zone`, in their order; `SettingsError` for an invalid one."""
        return cls(
            tuple(Shape.parse("--line", text, LINE[7:]) for text in lines),
            tuple(Shape.parse("--zone", text, ZONE[7:]) for text in zones),
        )


@dataclass(frozen=True, slots=True)
class Crossing:
    """Event: an object crossed a line.

    Attributes:
        line: index of the line, in the order in which lines were given.
        direction: "in" or "out", as `Tally` defines them.
        track_id: of the object.
        label: its class name.
    """

    line: int
    direction: str
    track_id: int
    label: str


@dataclass(frozen=True, slots=True)
class ZoneChange:
    """Event: an object entered a zone or left it; a track that ends inside a zone leaves it.

    Attributes:
        zone: index of the zone, in the order in which zones were given.
        entered: True for an entry, False for an exit.
        track_id: of the object.
        label: its class name.
    """

    zone: int
    entered: bool
    track_id: int
    label: str


Event = Crossing | ZoneChange


@dataclass(slots=True)
class Tally:
    """Counts of one source.

    The position of an object is the middle of the lower edge of its box. It crosses a line when it was on one side and
    is then detected in `SETTLE` frames on the other, between the line's ends. "in" is the left side in the direction
    from the line's first point to its second (upwards, for a line from left to right), "out" the right side. The
    crossings are those of supervision's `LineZone`, the zones its `PolygonZone`: an object that passes around the end
    of a line counts, too, once it is between the ends again.
    """

    counting: Counting
    size: tuple[int, int]
    class_names: Sequence[str]
    objects: Counter[str] = field(default_factory=Counter)
    _lines: list[Any] = field(init=False)
    _zones: list[Any] = field(init=False)
    _inside: list[Counter[str]] = field(init=False)
    _members: list[dict[int, str]] = field(init=False)  # per zone: class name by track id

    def __post_init__(self) -> None:
        from supervision import LineZone, Point, PolygonZone, Position

        corners = [shape.pixels(self.size) for shape in self.counting.lines]
        anchors = [Position.BOTTOM_CENTER]
        self._lines = [
            LineZone(Point(*start), Point(*end), triggering_anchors=anchors, minimum_crossing_threshold=SETTLE)
            for start, end in (points.tolist() for points in corners)
        ]
        self._zones = [
            PolygonZone(shape.pixels(self.size).round().astype(np.int64), triggering_anchors=anchors)
            for shape in self.counting.zones
        ]
        self._inside = [Counter() for _ in self._zones]
        self._members = [{} for _ in self._zones]

    def update(self, seen: "Detections", absent: "Detections") -> tuple[Event, ...]:
        """Count one frame; return its crossings, then its zone entries and exits.

        Args:
            seen: tracked objects, with `tracker_id` and `class_id`.
            absent: tracked objects without a detection in this frame, at their last positions: supervision's lines
                drop the side of an object that is missing for a few frames, so an occluded crossing would be lost.
        """
        from supervision import Detections

        events: list[Event] = []
        known = Detections.merge([seen, absent]) if len(absent) else seen
        for index, line in enumerate(self._lines):
            for direction, crossed in zip(("in", "out"), line.trigger(known), strict=True):
                objects = self._objects(known, crossed)
                events += [Crossing(index, direction, track_id, label) for track_id, label in objects.items()]
        for index, zone in enumerate(self._zones):
            now = self._objects(seen, zone.trigger(seen))
            self._inside[index] = Counter(now.values())
            events += self._zone_changes(index, now, absent)
        return tuple(events)

    def _objects(self, detections: "Detections", mask: np.ndarray) -> dict[int, str]:
        """Class names by track id of the detections in a (n,) boolean mask."""
        if not len(detections):
            return {}
        assert detections.tracker_id is not None and detections.class_id is not None
        ids, labels = detections.tracker_id[mask].tolist(), detections.class_id[mask]
        return dict(zip(ids, self._names(labels), strict=True))

    def _zone_changes(self, zone: int, now: dict[int, str], absent: "Detections") -> list[Event]:
        """Entries and exits of a zone; an object without a detection stays inside until its track ends."""
        unseen = set() if absent.tracker_id is None else set(absent.tracker_id.tolist())
        before = self._members[zone]
        left = {number: label for number, label in before.items() if number not in now and number not in unseen}
        events: list[Event] = [ZoneChange(zone, True, *one) for one in now.items() if one[0] not in before]
        events += [ZoneChange(zone, False, *one) for one in left.items()]
        self._members[zone] = {number: label for number, label in (before | now).items() if number not in left}
        return events

    def add(self, class_ids: Sequence[int]) -> None:
        """Count new objects."""
        self.objects.update(self._names(class_ids))

    def to_dict(self) -> dict[str, Any]:
        """Return all counts by class name, for JSON; classes without objects are omitted.

        `{"objects": {"car": 4}, "lines": [{"in": {"car": 1}, "out": {}}], "zones": [{"now": {"car": 2}}]}`: objects so
        far, crossings so far, objects detected inside now; lines and zones in the order in which they were given.
        """
        return {
            "objects": dict(self.objects),
            "lines": [{way: self._by_name(counts) for way, counts in _ways(line).items()} for line in self._lines],
            "zones": [{"now": dict(inside)} for inside in self._inside],
        }

    def _names(self, class_ids: Any) -> list[str]:
        return [self.class_names[class_id] for class_id in class_ids]

    def _by_name(self, counts: dict[int, int]) -> dict[str, int]:
        return {self.class_names[class_id]: count for class_id, count in counts.items()}


def _ways(line: Any) -> dict[str, dict[int, int]]:
    return {"in": line.in_count_per_class, "out": line.out_count_per_class}


def _area(points: Sequence[tuple[float, float]]) -> float:
    """Twice the area of a polygon, by the shoelace formula."""
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True)))
