"""Scene of a camera: tracked objects over time, without flicker: lost tracks are joined, zones have hysteresis.

Pure: time comes with each call, in seconds of any clock that does not go back.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from detection.tracking.counting import Crossing, ZoneChange

Box = tuple[float, float, float, float]

ENTER = 0.2  # seconds in a zone before an object counts as inside: a box that jitters at its border does not enter
CROSS = 0.5  # seconds without crossing back before a crossing counts
LEAVE = 1.0  # seconds outside of it before it counts as outside
GONE = 3.0  # seconds without a detection before an object is gone; a track that begins at its place continues it
GONE_FRAMES = 4  # the same in usual intervals, where frames are far apart
OVERLAP = 0.1  # least IoU of a new track's box and a lost object's last box
NEAR = 0.5  # or the largest distance of their centers, as a share of the last box's diagonal
RECENT = 128  # boxes kept for the start of an event
EDGE = 0.8  # factor on the score of a box that touches the frame's border, in the choice of the best one


@dataclass(frozen=True, slots=True)
class SeenObject:
    """Tracked object in a frame: track id from 1, class name, score 0 to 1, box xyxy in pixels."""

    track: int
    label: str
    score: float
    box: Box


@dataclass(slots=True)
class ZoneVisit:
    """Stay in a zone: time of its start, whether it has lasted `ENTER`, time since which the object is outside."""

    since: float
    settled: bool = False
    outside: float | None = None


@dataclass(slots=True, eq=False)
class SceneObject:
    """Object of the scene, which may have had several tracks.

    Attributes:
        number: its first track id.
        label: class name.
        first, last: times of its first and last detection.
        box: last box, xyxy pixels.
        score: highest score so far.
        size: largest area so far, as a share of the frame.
        view: quality of its last view: the score, less at the frame's border.
        recent: last (time, box, score), oldest first.
        visits: by zone.
        crossings: time and direction of those that do not count yet, by line.
        done: what rules have reported of it.
    """

    number: int
    label: str
    first: float
    last: float
    box: Box
    score: float = 0.0
    size: float = 0.0
    view: float = 0.0
    recent: deque[tuple[float, Box, float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    visits: dict[str, ZoneVisit] = field(default_factory=dict)
    crossings: dict[str, tuple[float, str]] = field(default_factory=dict)
    done: set[tuple[str, ...]] = field(default_factory=set)

    def see(self, time: float, seen: SeenObject, size: tuple[int, int]) -> None:
        """Take a detection in a frame of (width, height)."""
        x1, y1, x2, y2 = self.box = seen.box
        self.last = time
        self.score = max(self.score, seen.score)
        self.size = max(self.size, (x2 - x1) * (y2 - y1) / (size[0] * size[1]))
        touches = x1 <= 1 or y1 <= 1 or x2 >= size[0] - 1 or y2 >= size[1] - 1
        self.view = seen.score * (EDGE if touches else 1)
        self.recent.append((time, seen.box, seen.score))

    def inside(self, zones: Iterable[str]) -> str | None:
        """First of the zones in which the object is; None for none."""
        return next((zone for zone in zones if (visit := self.visits.get(zone)) and visit.settled), None)


class Happening(StrEnum):
    """Kind of a change in the scene."""

    LEFT = "left"
    CROSSED = "crossed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class SceneChange:
    """Change in the scene.

    Attributes:
        what: kind.
        subject: object.
        time: when it happened, which is before it was certain.
        place: zone or line; None for `GONE`.
        direction: of a crossing, "in" or "out".
        since: start of the visit that ended; of other kinds the object's first detection.
    """

    what: Happening
    subject: SceneObject
    time: float
    place: str | None = None
    direction: str | None = None
    since: float = 0.0


class Scene:
    """Objects of one camera.

    Attributes:
        present: objects with a detection in the last frame.
    """

    def __init__(self, zones: Sequence[str], lines: Sequence[str], interval: float = 0.0) -> None:
        """Make an empty scene.

        Args:
            zones, lines: names, by the indices in `ZoneChange` and `Crossing`.
            interval: expected seconds between two frames.
        """
        self._zones, self._lines = zones, lines
        self._tracks: dict[int, SceneObject] = {}  # by track id, of the scene's objects
        self._objects: dict[int, SceneObject] = {}
        self._inside: dict[int, set[str]] = {}  # zones by track id
        self.present: Sequence[SceneObject] = ()
        self._time = float("-inf")
        self._interval = interval  # usual seconds between two frames

    @property
    def objects(self) -> Sequence[SceneObject]:
        """Objects of the scene, those that are not gone."""
        return list(self._objects.values())

    def update(
        self,
        time: float,
        size: tuple[int, int],
        seen: Sequence[SeenObject],
        changes: Iterable[Crossing | ZoneChange] = (),
    ) -> list[SceneChange]:
        """Take a frame.

        Args:
            time: of the frame, in seconds; earlier than the last one counts as the last one's.
            size: (width, height) in pixels.
            seen: its tracked objects.
            changes: line crossings, zone entries and exits of their tracks at this frame.
        """
        step = max(0.0, time - self._time)
        found = self.tick(time)  # before objects are joined: one that was away for too long is another one
        if 0 < step < float("inf"):
            self._interval = min(step, 0.9 * self._interval + 0.1 * step) if self._interval else step
        time = self._time
        present: dict[SceneObject, int] = {}
        tracks = {one.track for one in seen}
        for one in sorted(seen, key=lambda one: one.track):
            subject = self._tracks.get(one.track) or self._lost(one, tracks, present, time)
            if subject is None or subject in present:  # two tracks of one object: they were wrongly joined
                subject = SceneObject(one.track, one.label, time, time, one.box)
                subject.visits = {zone: ZoneVisit(time) for zone in self._inside.get(one.track, ())}
                self._objects[one.track] = subject
            self._tracks[one.track] = subject
            present[subject] = one.track
            subject.see(time, one, size)
        for change in changes:
            changed = self._tracks.get(change.track_id)
            if changed is None:
                continue
            if isinstance(change, Crossing):
                line = self._lines[change.line]
                if changed.crossings.pop(line, ("", change.direction))[1] == change.direction:
                    changed.crossings[line] = (time, change.direction)
            else:
                self._change_zone(changed, change, time, changed in present)
        self.present = list(present)
        for subject in self.present:
            found += self._settle(subject, time)
        return found

    def tick(self, time: float) -> list[SceneChange]:
        """Let time go on without a frame: objects that have not been seen for too long are gone."""
        self._time = time = max(self._time, time)
        limit = max(GONE, GONE_FRAMES * self._interval)
        found = [change for subject in self._objects.values() for change in self._crossed(subject, time - CROSS)]
        lost = [subject for subject in self._objects.values() if time - subject.last > limit]
        return [*found, *(change for subject in lost for change in self._remove(subject))]

    def clear(self) -> list[SceneChange]:
        """End: all objects are gone."""
        return [change for subject in self.objects for change in self._remove(subject)]

    def _lost(
        self, seen: SeenObject, tracks: set[int], present: dict[SceneObject, int], time: float
    ) -> SceneObject | None:
        """Return the object without a detection that a new track continues; the nearest one."""
        visible = {self._tracks[track] for track in tracks if track in self._tracks}
        found = [
            (-_iou(one.box, seen.box), one.number)
            for one in self._objects.values()
            if one.label == seen.label and one not in present and one not in visible and one.last < time
            if _iou(one.box, seen.box) >= OVERLAP or _are_near(one.box, seen.box)
        ]
        return self._objects[min(found)[1]] if found else None

    def _change_zone(self, subject: SceneObject, change: ZoneChange, time: float, present: bool) -> None:
        zone = self._zones[change.zone]
        inside = self._inside.setdefault(change.track_id, set())
        visit = subject.visits.get(zone)
        if change.entered:
            inside.add(zone)
            if visit is None:
                subject.visits[zone] = ZoneVisit(time)
            else:
                visit.outside = None
            return
        inside.discard(zone)
        others = (track for track, one in self._tracks.items() if one is subject)
        if visit is None or any(zone in self._inside.get(track, ()) for track in others):
            return  # the end of a lost track, which another one has continued
        if present and not visit.settled:
            del subject.visits[zone]
        else:
            visit.outside = time if present else subject.last

    @staticmethod
    def _settle(subject: SceneObject, time: float) -> list[SceneChange]:
        """Confirm visits of an object that is detected now, and end those that are over."""
        found = []
        for zone, visit in list(subject.visits.items()):
            if visit.outside is None:
                visit.settled = visit.settled or time - visit.since >= ENTER
            elif time - visit.outside >= LEAVE or not visit.settled:
                del subject.visits[zone]
                if visit.settled:
                    found.append(SceneChange(Happening.LEFT, subject, visit.outside, zone, None, visit.since))
        return found

    @staticmethod
    def _crossed(subject: SceneObject, until: float) -> list[SceneChange]:
        """Crossings up to a time, which the object has not taken back."""
        over = [(line, *crossing) for line, crossing in subject.crossings.items() if crossing[0] <= until]
        for line, _, _ in over:
            del subject.crossings[line]
        return [
            SceneChange(Happening.CROSSED, subject, time, line, direction, subject.first)
            for line, time, direction in over
        ]

    def _remove(self, subject: SceneObject) -> list[SceneChange]:
        found = self._crossed(subject, float("inf"))
        found += [
            SceneChange(
                Happening.LEFT, subject, min(visit.outside or subject.last, subject.last), zone, None, visit.since
            )
            for zone, visit in subject.visits.items()
            if visit.settled
        ]
        self._objects = {number: one for number, one in self._objects.items() if one is not subject}
        self._tracks = {track: one for track, one in self._tracks.items() if one is not subject}
        self._inside = {track: zones for track, zones in self._inside.items() if track in self._tracks}
        return [*found, SceneChange(Happening.GONE, subject, subject.last, since=subject.first)]


def _iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _are_near(last: Box, new: Box) -> bool:
    """Whether the centers are near each other, in terms of the last box."""
    dx, dy = (last[0] + last[2] - new[0] - new[2]) / 2, (last[1] + last[3] - new[1] - new[3]) / 2
    width, height = last[2] - last[0], last[3] - last[1]
    return dx * dx + dy * dy <= NEAR * NEAR * (width * width + height * height)
