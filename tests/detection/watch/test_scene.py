from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.tracking.counting import Crossing, ZoneChange
from detection.watch.scene import CROSS, GONE, LEAVE, Happening, Scene, SceneChange, SeenObject

SIZE = (1000, 500)
STEP = 0.1


def seen(track: int, x: float = 100.0, score: float = 0.8, label: str = "person") -> SeenObject:
    return SeenObject(track, label, score, (x, 100.0, x + 80, 300.0))


def kinds(changes: Sequence[SceneChange]) -> list[Happening]:
    return [change.what for change in changes]


@pytest.mark.slow
@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_an_object_that_flickers_is_one_object(visible: list[bool]) -> None:
    """Its tracks end and begin as they like, at one place, and no gap is as long as `GONE`."""
    scene, found, track, last, time = Scene([], []), [], 1, 0.0, 0.0
    for index, here in enumerate([True, *visible]):
        time = index * STEP
        here = here or time - last > GONE - 2 * STEP
        if here and time - last > STEP * 1.5:
            track += 1
        found += scene.update(time, SIZE, [seen(track)] if here else [])
        last = time if here else last
    assert len(scene.objects) == 1 and scene.objects[0].number == 1 and found == []
    assert kinds(scene.tick(last + GONE + STEP)) == [Happening.GONE] and not scene.objects


@pytest.mark.slow
@given(st.lists(st.integers(1, 9), max_size=60))
def test_a_box_that_jitters_at_a_border_neither_enters_nor_leaves(runs: list[int]) -> None:
    """Each stay outside is shorter than `LEAVE`, so that the first stay goes on; `ENTER` comes before it counts."""
    scene = Scene(["lawn"], [])
    found, time, inside = [], 0.0, False
    for frames in [5, *runs]:
        inside = not inside
        for index in range(frames):
            changes = [ZoneChange(0, inside, 1, "person")] if index == 0 else []
            found += scene.update(time, SIZE, [seen(1)], changes)
            time += STEP
    assert found == [] and scene.objects[0].visits["lawn"].settled


def test_leaving_is_certain_after_a_second_and_happened_before() -> None:
    scene = Scene(["lawn"], [])
    scene.update(0, SIZE, [seen(1)], [ZoneChange(0, True, 1, "person")])
    scene.update(2, SIZE, [seen(1)])
    assert scene.update(3, SIZE, [seen(1)], [ZoneChange(0, False, 1, "person")]) == []
    assert scene.update(3 + LEAVE / 2, SIZE, [seen(1)]) == []
    (change,) = scene.update(3 + LEAVE, SIZE, [seen(1)])
    assert (change.what, change.time, change.since, change.place) == (Happening.LEFT, 3, 0, "lawn")


def test_a_short_touch_of_a_zone_is_no_stay() -> None:
    scene = Scene(["lawn"], [])
    scene.update(0, SIZE, [seen(1)], [ZoneChange(0, True, 1, "person")])
    scene.update(STEP, SIZE, [seen(1)], [ZoneChange(0, False, 1, "person")])
    assert all(scene.update(0.2 + STEP * index, SIZE, [seen(1)]) == [] for index in range(30))
    assert not scene.objects[0].visits


def test_a_lost_track_that_another_one_continues_stays_inside() -> None:
    """The end of the old track comes after the new one has entered, as the tracker keeps lost tracks for a second."""
    scene = Scene(["lawn"], [])
    scene.update(0, SIZE, [seen(1)], [ZoneChange(0, True, 1, "person")])
    scene.update(1, SIZE, [seen(1)])
    scene.update(1.4, SIZE, [seen(2)], [ZoneChange(0, True, 2, "person")])
    assert scene.update(2, SIZE, [seen(2)], [ZoneChange(0, False, 1, "person")]) == []
    assert all(scene.update(2 + STEP * index, SIZE, [seen(2)]) == [] for index in range(30))
    assert len(scene.objects) == 1


def test_two_tracks_that_were_joined_wrongly_become_two_objects() -> None:
    scene = Scene(["lawn"], [])
    scene.update(0, SIZE, [seen(1)], [ZoneChange(0, True, 1, "person")])
    scene.update(1, SIZE, [seen(2, 130)], [ZoneChange(0, True, 2, "person")])
    assert len(scene.objects) == 1
    scene.update(1.1, SIZE, [seen(1), seen(2, 130)])
    assert [one.number for one in scene.objects] == [1, 2]
    assert all("lawn" in one.visits for one in scene.objects)


def test_only_objects_of_the_label_and_near_are_continued() -> None:
    for other in (seen(2, label="dog"), seen(2, x=600)):
        scene = Scene([], [])
        scene.update(0, SIZE, [seen(1)])
        scene.update(1, SIZE, [other])
        assert len(scene.objects) == 2


def test_an_object_that_is_seen_in_the_frame_is_not_continued_by_another_track() -> None:
    scene = Scene([], [])
    scene.update(0, SIZE, [seen(1)])
    scene.update(1, SIZE, [seen(1), seen(2, 120)])
    assert len(scene.objects) == 2


def test_time_that_goes_back_stands_still() -> None:
    scene = Scene([], [])
    scene.update(100, SIZE, [seen(1)])
    assert scene.update(50, SIZE, [seen(1)]) == [] and scene.objects[0].last == 100
    assert kinds(scene.tick(100 + 2 * GONE)) == [Happening.GONE]


def test_a_gap_of_the_stream_ends_objects_and_joins_nothing() -> None:
    scene = Scene([], [])
    for index in range(10):
        scene.update(index * STEP, SIZE, [seen(1)])
    assert kinds(scene.update(60, SIZE, [seen(2)])) == [Happening.GONE]
    assert [one.number for one in scene.objects] == [2]


def test_rare_frames_leave_an_object_more_time() -> None:
    scene = Scene([], [], 4)
    for time in (0, 4, 8):
        assert scene.update(time, SIZE, [seen(1)]) == []
    assert scene.update(12, SIZE, []) == [] and scene.update(16, SIZE, [seen(1)]) == []
    assert len(scene.objects) == 1


def test_a_crossing_names_line_and_direction() -> None:
    scene = Scene([], ["gate", "door"])
    scene.update(0, SIZE, [seen(1)])
    crossings = [Crossing(1, "in", 1, "person"), Crossing(0, "in", 99, "person")]
    assert scene.update(1, SIZE, [seen(1)], crossings) == []
    (change,) = scene.update(1 + CROSS, SIZE, [seen(1)])
    assert (change.what, change.place, change.direction, change.time) == (Happening.CROSSED, "door", "in", 1)


def test_a_crossing_that_is_taken_back_at_once_is_none() -> None:
    scene = Scene([], ["gate"])
    found = []
    for index in range(40):
        way = "in" if index % 4 else "out"
        changes = [Crossing(0, way, 1, "person")] if index < 20 and index % 2 == 0 else []
        found += scene.update(index * STEP, SIZE, [seen(1)], changes)
    assert len(found) <= 1
    scene.update(4, SIZE, [seen(1)], [Crossing(0, "out", 1, "person")])
    assert kinds(scene.clear())[0] is Happening.CROSSED


def test_memory_of_a_long_run_is_bounded() -> None:
    scene = Scene(["lawn"], [])
    for index in range(3000):
        time = index * STEP
        changes = [ZoneChange(0, True, 1 + index // 50, "person")] if index % 50 == 0 else []
        scene.update(time, SIZE, [seen(1 + index // 50, x=float(300 * (index // 50 % 3)))], changes)
    assert len(scene.objects) <= 3 and len(scene._tracks) <= 4 and len(scene._inside) <= 4
    assert all(len(one.recent) <= 128 for one in scene.objects)
