"""Rule engine: tracked objects of a camera over time -> events. Pure: it reads no clock and writes nothing."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from detection.tracking.counting import Crossing, ZoneChange
from detection.watch.event import Event, EventKind, TimedBox
from detection.watch.scene import Box, Happening, Scene, SceneChange, SceneObject, SeenObject
from detection.watch.settings import CameraSettings, RuleSettings

BOXES = 240  # of an event; above, every second one is left out
SPACING = 0.07  # seconds between two boxes, at first
BEFORE = 1.0  # seconds of boxes before an event of a moment
BETTER = 1.02  # factor by which a view must be better than the one before

Key = tuple[str, EventKind, str | None, int]  # rule, kind, zone, object


class EventStage(StrEnum):
    """Stage of an event."""

    BEGIN = "begin"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True)
class EventChange:
    """New state of an event.

    Attributes:
        stage: `BEGIN` once, then `UPDATE` for each better view, then `END` once.
        event: the state.
        time: time of its start on the engine's clock.
        box: last box of its object, xyxy pixels.
        visible: the object is in the frame that was taken; it is the event's best view so far.
    """

    stage: EventStage
    event: Event
    time: float
    box: Box
    visible: bool = False


@dataclass(slots=True, eq=False)
class _OpenEvent:
    """Event that lasts."""

    event: Event
    subject: SceneObject
    start: float
    sent: float  # `SceneObject.view` of the last state
    trail: list[tuple[float, Box, float]] = field(default_factory=list)
    spacing: float = SPACING

    def add(self, time: float, box: Box, score: float) -> None:
        """Append a box; long events keep fewer in the same span."""
        if self.trail and time - self.trail[-1][0] < self.spacing:
            return
        self.trail.append((time, box, score))
        if len(self.trail) > BOXES:
            self.trail = self.trail[::2]
            self.spacing *= 2

    def state(self, end: float | None = None) -> Event:
        """Return the event with its boxes up to now, or up to its end. All times follow from its start."""
        begin = self.event.start

        def moment(time: float) -> datetime:
            return begin + timedelta(seconds=time - self.start)

        boxes = tuple(
            TimedBox(moment(time), box, score) for time, box, score in self.trail if end is None or time <= end
        )
        return replace(self.event, score=self.subject.score, boxes=boxes, end=None if end is None else moment(end))


class RuleEngine:
    """Rules of one camera. Not thread-safe.

    An object that flickers, or whose track is lost and found at the same place, gives one event (`Scene`). Durations
    are differences of the times that `update` gets; the clock of the day is read once for an event, for its start.
    """

    def __init__(
        self,
        camera: str,
        settings: CameraSettings,
        rules: Mapping[str, RuleSettings],
        *,
        clock: Callable[[float], datetime],
        thresholds: Mapping[str, float] | None = None,
        run: str = "",
        timezone: str | None = None,
    ) -> None:
        """Make an engine without objects.

        Args:
            camera: name of the camera.
            settings: its zones and lines.
            rules: its rules by name.
            clock: the aware UTC time of a time that `update` gets.
            thresholds: least score by class name, for rules without `min_score`; None for none.
            run: text that is unique to the run, for the events' ids.
            timezone: of `hours`; None for that of the machine.
        """
        self._camera, self._settings, self._rules = camera, settings, dict(rules)
        self._clock, self._thresholds, self._run = clock, thresholds or {}, run
        self._zone = None if timezone is None else ZoneInfo(timezone)
        self._scene = Scene(list(settings.zones), list(settings.lines), 1 / settings.rate)
        self._open: dict[Key, _OpenEvent] = {}
        self._made = 0
        self._size = (1, 1)

    @property
    def objects(self) -> int:
        """Number of objects in the scene."""
        return len(self._scene.objects)

    @property
    def present(self) -> Sequence[SceneObject]:
        """Objects in the last frame."""
        return self._scene.present

    @property
    def missing(self) -> int:
        """Number of them that the last frame does not show."""
        return len(self._scene.objects) - len(self._scene.present)

    def update(
        self,
        time: float,
        size: tuple[int, int],
        seen: Sequence[SeenObject],
        changes: Iterable[Crossing | ZoneChange] = (),
    ) -> list[EventChange]:
        """Take a frame, as `Scene.update`; return what has changed, in order."""
        self._size = size
        found = self._apply(self._scene.update(time, size, seen, changes))
        present = set(self._scene.present)
        for one in self._open.values():
            if one.subject in present:
                one.add(*one.subject.recent[-1])
                if one.subject.view > BETTER * one.sent:
                    one.sent = one.subject.view
                    found.append(EventChange(EventStage.UPDATE, one.state(), one.start, one.subject.box, True))
        for subject in self._scene.present:
            found += self._begin(subject, subject.last)
        return found

    def tick(self, time: float) -> list[EventChange]:
        """Let time go on without a frame."""
        return self._apply(self._scene.tick(time))

    def finish(self) -> list[EventChange]:
        """End all events, at the last detections of their objects."""
        return self._apply(self._scene.clear())

    def _begin(self, subject: SceneObject, now: float) -> Iterator[EventChange]:
        """Begin the lasting events of an object that is detected now."""
        for name, rule in self._rules.items():
            if not self._fits(rule, subject):
                continue
            for kind in rule.all_kinds:
                for zone, since in self._stays(name, kind, subject):
                    key = (name, kind, zone, subject.number)
                    if (name, kind, zone or "") in subject.done or now - since < rule.min_seconds:
                        continue
                    if not self._active(rule, now if kind is EventKind.STAYED else since):
                        continue
                    subject.done.add((name, kind, zone or ""))
                    event = self._event(name, kind, subject, zone, None, since)
                    one = self._open[key] = _OpenEvent(event, subject, since, subject.view)
                    for time, box, score in subject.recent:
                        if time >= since:
                            one.add(time, box, score)
                    yield EventChange(EventStage.BEGIN, one.state(), since, subject.box, True)

    def _stays(self, name: str, kind: EventKind, subject: SceneObject) -> list[tuple[str | None, float]]:
        """Zone and start of each stay that may begin an event of a kind by a rule."""
        rule = self._rules[name]
        zones = [zone for zone in (rule.zones or self._settings.zones) if zone in self._settings.zones]
        visits = [(zone, visit.since) for zone in zones if (visit := subject.visits.get(zone)) and visit.settled]
        if kind is EventKind.ENTERED or (kind is EventKind.STAYED and rule.zones):
            return list(visits)
        if kind is EventKind.STAYED:
            return [(None, subject.first)]
        if kind is not EventKind.APPEARED:
            return []
        if not rule.zones:
            return [(None, subject.first)]
        # Once for an object, in whichever of the zones it is first.
        return [] if any(one[:2] == (name, kind) for one in subject.done) else list(visits[:1])

    def _apply(self, changes: Iterable[SceneChange]) -> list[EventChange]:
        """End lasting events, and make those of a moment."""
        found: list[EventChange] = []
        for change in changes:
            subject = change.subject
            for key, one in list(self._open.items()):
                left = change.what is Happening.LEFT and key[2] == change.place and key[1] is not EventKind.APPEARED
                if one.subject is subject and (left or change.what is Happening.GONE):
                    del self._open[key]
                    found.append(
                        EventChange(EventStage.END, one.state(max(change.time, one.start)), one.start, subject.box)
                    )
            if change.what is Happening.LEFT:
                subject.done = {one for one in subject.done if one[2] != change.place or one[1] == EventKind.APPEARED}
            for name, rule in self._rules.items():
                if self._gives(rule, change):
                    found += self._moment(name, change)
        return found

    def _gives(self, rule: RuleSettings, change: SceneChange) -> bool:
        """Whether a change is an event of a moment by a rule."""
        kind = {
            Happening.LEFT: EventKind.LEFT,
            Happening.CROSSED: EventKind.CROSSED,
            Happening.GONE: EventKind.VANISHED,
        }[change.what]
        if kind not in rule.all_kinds or not self._fits(rule, change.subject):
            return False
        if change.time - change.since < rule.min_seconds or not self._active(rule, change.time):
            return False
        if kind is EventKind.LEFT:
            return not rule.zones or change.place in rule.zones
        if kind is EventKind.CROSSED and rule.lines and change.place not in rule.lines:
            return False
        return not rule.zones or change.subject.inside(rule.zones) is not None

    def _moment(self, name: str, change: SceneChange) -> Iterator[EventChange]:
        kind = {Happening.LEFT: EventKind.LEFT, Happening.CROSSED: EventKind.CROSSED}.get(
            change.what, EventKind.VANISHED
        )
        subject, rule = change.subject, self._rules[name]
        place = change.place if kind is not EventKind.VANISHED else subject.inside(rule.zones)
        event = self._event(name, kind, subject, place, change.direction, change.time)
        one = _OpenEvent(event, subject, change.time, subject.view)
        for time, box, score in subject.recent:
            if change.time - BEFORE <= time <= change.time:
                one.add(time, box, score)
        state = replace(one.state(), end=event.start)
        yield EventChange(EventStage.BEGIN, state, change.time, subject.box, subject in self._scene.present)
        yield EventChange(EventStage.END, state, change.time, subject.box)

    def _fits(self, rule: RuleSettings, subject: SceneObject) -> bool:
        least = self._thresholds.get(subject.label, 0.0) if rule.min_score is None else rule.min_score
        return (
            (not rule.labels or subject.label in rule.labels)
            and subject.score >= least
            and subject.size >= rule.min_size
        )

    def _active(self, rule: RuleSettings, time: float) -> bool:
        """Whether a time is within the hours of a rule."""
        if not rule.hours:
            return True
        local = self._clock(time).astimezone(self._zone)
        return any(hours.contains(local) for hours in rule.hours)

    def _event(
        self, rule: str, kind: EventKind, subject: SceneObject, place: str | None, direction: str | None, start: float
    ) -> Event:
        self._made += 1
        text = f"{self._run}|{self._camera}|{self._made}|{rule}|{kind}|{subject.number}|{place}"
        return Event(
            id=hashlib.sha256(text.encode()).hexdigest()[:32],
            camera=self._camera,
            rule=rule,
            kind=kind,
            label=subject.label,
            track=subject.number,
            zone=place,
            direction=direction,
            start=self._clock(start),
            end=None,
            score=subject.score,
            width=self._size[0],
            height=self._size[1],
        )
