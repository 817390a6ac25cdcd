"""Zones, lines, frame sizes and hours of a watch's settings, read from YAML."""

import math
import re
from dataclasses import dataclass
from datetime import datetime, time
from itertools import combinations
from typing import Any, Self

from data.errors import SettingsError
from detection.tracking.counting import Shape

Point = tuple[float, float]
SMALLEST_ZONE = 1e-4  # share of the frame's area
PERIOD = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
LARGEST_SIDE = 7680


def parse_points(value: Any, least: int, most: int | None = None) -> tuple[Point, ...]:
    """Parse corners, `[[x, y], ...]` in shares of the frame from 0 to 1; `SettingsError` for anything else."""
    expected = f"expected {'two' if most == 2 else f'at least {least}'} points [x, y], in shares of the frame"
    if not isinstance(value, list) or not all(isinstance(point, list) and len(point) == 2 for point in value):
        raise SettingsError(f"no list of points; {expected}")
    points: list[Point] = []
    for pair in value:
        try:
            x, y = (float(number) for number in pair)
        except (TypeError, ValueError):
            raise SettingsError(f"found the point {pair}; expected two numbers from 0 to 1") from None
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise SettingsError(f"found the point [{x:g}, {y:g}]; expected shares of the frame from 0 to 1, no pixels")
        points.append((x, y))
    if len(points) < least or (most is not None and len(points) > most):
        raise SettingsError(f"found {len(points)} points; {expected}")
    if len(set(points)) < len(points):
        raise SettingsError("a point comes twice; expected each once (the last one is joined to the first by itself)")
    return tuple(points)


@dataclass(frozen=True, slots=True)
class ZoneSettings:
    """Zone: a polygon that does not cross itself, in shares of the frame."""

    points: tuple[Point, ...]

    @classmethod
    def from_yaml(cls, value: Any) -> Self:
        """Parse and check its corners."""
        points = parse_points(value, 3)
        if (crossing := _first_crossing(points)) is not None:
            first, second = crossing
            raise SettingsError(
                f"the sides from points {first + 1} and {second + 1} cross; give the corners in their order around"
            )
        area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True)) / 2
        if abs(area) < SMALLEST_ZONE:
            raise SettingsError(f"its area is {abs(area):.2g} of the frame; expected at least {SMALLEST_ZONE:g}")
        return cls(points)

    def shape(self, name: str) -> Shape:
        """Return it for counting."""
        return Shape(f"zone {name}", self.points, relative=True)


@dataclass(frozen=True, slots=True)
class LineSettings:
    """Line between two points, in shares of the frame."""

    points: tuple[Point, ...]

    @classmethod
    def from_yaml(cls, value: Any) -> Self:
        """Parse and check its ends."""
        return cls(parse_points(value, 2, 2))

    def shape(self, name: str) -> Shape:
        """Return it for counting."""
        return Shape(f"line {name}", self.points, relative=True)


@dataclass(frozen=True, slots=True)
class FrameSize:
    """Width and height in pixels, "1280x720"."""

    width: int
    height: int

    @classmethod
    def from_yaml(cls, value: Any) -> Self:
        """Parse and check it."""
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value) if isinstance(value, str) else None
        if found is None or not all(32 <= int(side) <= LARGEST_SIDE for side in found.groups()):
            raise SettingsError(f"found {value!r}; expected WIDTHxHEIGHT such as 1280x720, 32 to {LARGEST_SIDE} each")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of the day, "08:00-18:00"; "22:00-06:00" goes over midnight. The end does not belong to them."""

    begin: time
    end: time

    @classmethod
    def from_yaml(cls, value: Any) -> Self:
        """Parse and check them; 24:00 is midnight."""
        found = PERIOD.fullmatch(value.strip()) if isinstance(value, str) else None
        expected = "expected hours such as 08:00-18:00, or 22:00-06:00 over midnight"
        if found is None:
            raise SettingsError(f"found {value!r}; {expected}")
        times = []
        for hour, minute in (map(int, found.groups()[:2]), map(int, found.groups()[2:])):
            if not (hour < 24 and minute < 60) and (hour, minute) != (24, 0):
                raise SettingsError(f"{hour:02}:{minute:02} is no time of the day; {expected}")
            times.append(time(hour % 24, minute))
        if times[0] == times[1]:
            raise SettingsError(f"{value!r} begins where it ends; leave it out for the whole day")
        return cls(*times)

    def contains(self, moment: datetime) -> bool:
        """Whether a local time is within them."""
        clock = moment.time()
        if self.begin < self.end:
            return self.begin <= clock < self.end
        return clock >= self.begin or clock < self.end


def _first_crossing(points: tuple[Point, ...]) -> tuple[int, int] | None:
    """Indices of two sides of a polygon that touch or cross and are no neighbors, or fold back; None for none."""
    count = len(points)
    sides = [(points[index], points[(index + 1) % count]) for index in range(count)]
    for first, second in combinations(range(count), 2):
        if second - first in (1, count - 1):
            continue
        if _cross(*sides[first], *sides[second]):
            return first, second
    return None


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the segments a-b and c-d have a point in common."""
    sides = [_side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)]
    if sides[0] != sides[1] and sides[2] != sides[3]:
        return True
    return any(
        side == 0 and _between(start, end, point)
        for side, (start, end, point) in zip(sides, ((a, b, c), (a, b, d), (c, d, a), (c, d, b)), strict=True)
    )


def _side(a: Point, b: Point, c: Point) -> int:
    """Side of c from the line a-b: -1, 0 or 1."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 0 if math.isclose(area, 0, abs_tol=1e-12) else 1 if area > 0 else -1


def _between(a: Point, b: Point, c: Point) -> bool:
    """Whether c, on the line a-b, is between the two."""
    return all(min(a[axis], b[axis]) <= c[axis] <= max(a[axis], b[axis]) for axis in (0, 1))
