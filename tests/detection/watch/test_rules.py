from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.tracking.counting import Crossing, ZoneChange
from detection.watch.event import LASTING, Event, EventKind
from detection.watch.rules import BOXES, EventChange, EventStage, RuleEngine
from detection.watch.scene import GONE, SeenObject
from detection.watch.settings import CameraSettings, RuleSettings
from detection.watch.shapes import Hours, LineSettings, ZoneSettings

SIZE = (1000, 500)
MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)
ZONE = ZoneSettings(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
CAMERA = CameraSettings(
    "test", zones={"lawn": ZONE, "path": ZONE}, lines={"gate": LineSettings(((0.0, 0.5), (1.0, 0.5)))}
)
ALL = tuple(EventKind)


@dataclass
class Play:
    """An engine, and zone changes that follow from the zones in which each track is."""

    rules: dict[str, RuleSettings]
    jumps: float = 0.0
    step: float = 0.1
    time: float = 50.0
    changes: list[EventChange] = field(default_factory=list)
    _inside: dict[int, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = RuleEngine(
            "yard",
            CAMERA,
            self.rules,
            clock=lambda time: MIDNIGHT + timedelta(seconds=time + self.jumps),
            timezone="UTC",
        )

    def frames(
        self, count: int, objects: Iterable[tuple[SeenObject, set[int]]] = (), crossings: Iterable[Crossing] = ()
    ) -> list[EventChange]:
        """Take equal frames of objects, each with the zones it is in; crossings in the first."""
        objects, crossings, found = list(objects), list(crossings), []
        for _ in range(count):
            changes: list[Crossing | ZoneChange] = [*crossings]
            crossings = []
            for one, zones in objects:
                before = self._inside.get(one.track, set())
                changes += [ZoneChange(zone, True, one.track, one.label) for zone in zones - before]
                changes += [ZoneChange(zone, False, one.track, one.label) for zone in before - zones]
                self._inside[one.track] = zones
            found += self.engine.update(self.time, SIZE, [one for one, _ in objects], changes)
            self.time += self.step
        self.changes += found
        return found

    def end(self) -> list[Event]:
        """End all; return the last states of all events."""
        self.changes += self.engine.finish()
        return [change.event for change in self.changes if change.stage is EventStage.END]


def person(track: int = 1, x: float = 100, score: float = 0.8, label: str = "person") -> SeenObject:
    return SeenObject(track, label, score, (x, 100.0, x + 100, 300.0))


def begun(changes: Iterable[EventChange]) -> list[tuple[str, str | None]]:
    return [(str(one.event.kind), one.event.zone) for one in changes if one.stage is EventStage.BEGIN]


def test_the_life_of_an_object_in_a_zone() -> None:
    play = Play({"all": RuleSettings(kinds=ALL, min_seconds=1, zones=("lawn",))})
    assert begun(play.frames(5, [(person(), set())])) == []
    assert begun(play.frames(10, [(person(), {0})])) == []
    assert begun(play.frames(2, [(person(), {0})])) == [("entered", "lawn"), ("stayed", "lawn"), ("appeared", "lawn")]
    assert begun(play.frames(1, [(person(), {0})], [Crossing(0, "in", 1, "person")])) == []
    assert begun(play.frames(9, [(person(), set())])) == [("crossed", "gate")]
    changes = play.frames(3, [(person(), set())])
    assert begun(changes) == [("left", "lawn")]
    assert [str(one.event.kind) for one in changes if one.stage is EventStage.END] == ["entered", "stayed", "left"]
    events = {str(event.kind): event for event in play.end()}
    assert sorted(events) == ["appeared", "crossed", "entered", "left", "stayed"]  # it vanished outside
    assert events["entered"].end == events["left"].start == events["left"].end
    assert events["entered"].end is not None
    assert (events["entered"].end - events["entered"].start).total_seconds() == pytest.approx(1.3)
    assert events["crossed"].direction == "in" and events["entered"].direction is None
    assert events["entered"].label == "person" and events["entered"].track == 1 and events["entered"].score == 0.8
    assert len({event.id for event in events.values()}) == 5


def test_a_rule_without_zones_is_of_the_whole_frame() -> None:
    play = Play(
        {"seen": RuleSettings(), "long": RuleSettings(kinds=(EventKind.STAYED, EventKind.VANISHED), min_seconds=2)}
    )
    assert begun(play.frames(1, [(person(), set())])) == [("appeared", None)]
    assert begun(play.frames(25, [(person(), set())])) == [("stayed", None)]
    assert begun(play.frames(35)) == [("vanished", None)]
    (stayed,) = [event for event in play.end() if event.kind is EventKind.STAYED]
    assert stayed.end is not None and (stayed.end - stayed.start).total_seconds() == pytest.approx(2.5)


def test_each_rule_takes_its_own_objects() -> None:
    rules = {
        "dogs": RuleSettings(labels=("dog",)),
        "sure": RuleSettings(min_score=0.9),
        "large": RuleSettings(min_size=0.05),
        "lawn": RuleSettings(zones=("lawn",)),
        "gate": RuleSettings(lines=("gate",)),
    }
    play = Play(rules)
    play.frames(5, [(person(), {1})], [Crossing(0, "out", 1, "person")])
    assert [event.rule for event in play.end()] == ["gate"]
    play = Play(rules)
    large = SeenObject(1, "dog", 0.95, (0.0, 0.0, 500.0, 400.0))
    play.frames(5, [(large, {0})])
    assert sorted(event.rule for event in play.end()) == ["dogs", "large", "lawn", "sure"]


def test_a_score_that_is_reached_later_counts_from_then() -> None:
    play = Play({"sure": RuleSettings(min_score=0.9)})
    assert begun(play.frames(10, [(person(score=0.5), set())])) == []
    assert begun(play.frames(1, [(person(score=0.95), set())])) == [("appeared", None)]
    (event,) = play.end()
    assert event.start == MIDNIGHT + timedelta(seconds=50) and event.score == 0.95


def test_better_views_are_updates() -> None:
    play = Play({"seen": RuleSettings()})
    play.frames(3, [(person(score=0.5), set())])
    assert [one.stage for one in play.frames(3, [(person(score=0.7), set())])] == [EventStage.UPDATE]
    assert play.frames(3, [(person(score=0.6), set())]) == []
    at_the_border = SeenObject(1, "person", 0.8, (0.0, 100.0, 100.0, 300.0))
    assert play.frames(1, [(at_the_border, set())]) == []
    (event,) = play.end()
    assert event.score == 0.8


@pytest.mark.slow
@given(
    visible=st.lists(st.integers(1, 25), min_size=1, max_size=30),
    jumps=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
)
def test_flicker_and_a_clock_that_jumps_give_one_event_of_the_right_length(
    visible: list[int], jumps: list[float]
) -> None:
    """Runs of frames with and without the object; a new track after each gap; the clock of the day jumps between."""
    play = Play({"in": RuleSettings(zones=("lawn",), kinds=(EventKind.ENTERED, EventKind.STAYED), min_seconds=0.5)})
    play.frames(8, [(person(), {0})])
    last = play.time - play.step
    for index, frames in enumerate(visible):
        play.jumps = jumps[index % len(jumps)]
        play.frames(frames)  # at most 2.5 s
        play.frames(frames, [(person(track=2 + index), {0})])
        last = play.time - play.step
    play.frames(40)
    events = play.end()
    assert sorted(event.kind for event in events) == [EventKind.ENTERED, EventKind.STAYED]
    for event in events:
        assert event.end is not None
        assert (event.end - event.start).total_seconds() == pytest.approx(last - 50, abs=1e-3)
        assert event.start == MIDNIGHT + timedelta(seconds=50) and event.track == 1
        times = [box.time for box in event.boxes]
        assert times == sorted(times) and event.start <= times[0] and times[-1] <= event.end
        assert len(event.boxes) <= BOXES


@pytest.mark.slow
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(1, 4), st.integers(0, 3), st.floats(0, 1)), max_size=3, unique_by=lambda one: one[0]
        ),
        max_size=40,
    ),
    st.floats(0.01, 3),
)
def test_every_event_begins_and_ends_once(frames: list[list[tuple[int, int, float]]], seconds: float) -> None:
    """Of any sequence of tracks, zones and crossings."""
    play = Play(
        {
            "all": RuleSettings(kinds=ALL, min_seconds=seconds),
            "lawn": RuleSettings(zones=("lawn",), kinds=ALL, min_seconds=0.1),
        }
    )
    for frame in frames:
        play.step = 0.05 + seconds / 2
        objects = [
            (person(track, 150.0 * track, score), {0, 1} if zones == 3 else {zones} - {2})
            for track, zones, score in frame
        ]
        play.frames(1, objects, [Crossing(0, "in", track, "person") for track, zones, _ in frame if zones == 1])
    ended = play.end()
    stages: dict[str, list[EventStage]] = {}
    for change in play.changes:
        stages.setdefault(change.event.id, []).append(change.stage)
    for one in stages.values():
        assert one[0] is EventStage.BEGIN and one[-1] is EventStage.END and set(one[1:-1]) <= {EventStage.UPDATE}
    assert sorted(event.id for event in ended) == sorted(stages)
    for event in ended:
        assert event.end is not None and event.end >= event.start
        assert event.kind in LASTING or event.end == event.start
    assert play.engine.objects == 0


def test_hours_over_midnight_count_at_the_begin() -> None:
    night = RuleSettings(hours=(Hours.from_yaml("22:00-06:00"),))
    for hour, expected in ((21.99, 0), (22, 1), (23.99, 1), (5.99, 1), (6, 0), (12, 0)):
        play = Play({"night": night}, time=hour * 3600)
        play.frames(20, [(person(), set())])
        assert len(play.end()) == expected, hour
    play = Play({"night": night}, time=22 * 3600 - 10)  # was there before the hours began
    play.frames(300, [(person(), set())])
    assert play.end() == []


def test_the_end_of_the_signal_ends_events() -> None:
    play = Play({"seen": RuleSettings()})
    play.frames(10, [(person(), set())])
    assert play.engine.tick(play.time) == []
    (change,) = play.engine.tick(play.time + GONE)
    assert change.stage is EventStage.END and change.event.end == MIDNIGHT + timedelta(seconds=50.9)


def test_a_visit_after_another_is_another_event() -> None:
    play = Play({"in": RuleSettings(zones=("lawn",))})
    for _ in range(3):
        play.frames(15, [(person(), {0})])
        play.frames(15, [(person(), set())])
    assert len(play.end()) == 3


def test_boxes_of_a_long_event_are_thinned_over_its_whole_length() -> None:
    play = Play({"seen": RuleSettings()})
    play.frames(4000, [(person(), set())])
    (event,) = play.end()
    assert BOXES / 2 <= len(event.boxes) <= BOXES
    gaps = [(b.time - a.time).total_seconds() for a, b in zip(event.boxes, event.boxes[1:], strict=False)]
    assert max(gaps) < 2.1 * min(gaps)
