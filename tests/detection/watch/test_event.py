import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from detection.watch.event import Event, EventFiles, EventKind, TimedBox, iso_time, parse_time

START = datetime(2026, 1, 31, 23, 59, 59, 250_000, UTC)
EVENT = Event(
    id="0123456789abcdef0123456789abcdef",
    camera="yard",
    rule="people",
    kind=EventKind.CROSSED,
    label="person",
    track=7,
    zone="gate",
    direction="in",
    start=START,
    end=None,
    score=0.75,
    width=1280,
    height=720,
    boxes=(TimedBox(START, (1.0, 2.0, 30.5, 40.0), 0.75),),
)


@pytest.mark.parametrize("end", [None, START + timedelta(seconds=5)])
def test_json_round_trip(end: datetime | None) -> None:
    event = replace(EVENT, end=end)
    values = json.loads(json.dumps(event.to_json()))
    assert Event.from_json(values) == event
    assert values["kind"] == "crossed" and values["start"] == "2026-01-31T23:59:59.250000Z"
    assert values["boxes"] == [{"time": "2026-01-31T23:59:59.250000Z", "box": [1.0, 2.0, 30.5, 40.0], "score": 0.75}]


def test_times_are_utc() -> None:
    local = START.astimezone(timezone(timedelta(hours=2)))
    assert iso_time(local) == iso_time(START) and parse_time(iso_time(local)) == START
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-01-31T22:14:05")
    with pytest.raises(ValueError, match="zone"):
        iso_time(START.replace(tzinfo=None))


def test_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="flew"):
        Event.from_json(EVENT.to_json() | {"kind": "flew"})


def test_paths_follow_from_the_event_alone() -> None:
    files = EventFiles.of(Path("events"), EVENT)
    folder = Path("events/yard/2026-01-31")
    assert files.snapshot == folder / f"{EVENT.id}.jpg"
    assert files.boxed_snapshot == folder / f"{EVENT.id}-boxes.jpg"
    assert files.clip == folder / f"{EVENT.id}.mp4"
    elsewhere = replace(EVENT, start=START.astimezone(timezone(timedelta(hours=9))))
    assert EventFiles.of(Path("events"), elsewhere) == files
