import math
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import SettingsError
from detection.watch.shapes import FrameSize, Hours, LineSettings, ZoneSettings


def regular(corners: int, turn: float = 0.0, step: int = 1) -> list[list[str]]:
    angles = [turn + 2 * math.pi * index * step / corners for index in range(corners)]
    return [[str(0.5 + 0.4 * math.cos(angle)), str(0.5 + 0.4 * math.sin(angle))] for angle in angles]


@given(st.integers(3, 12), st.floats(0, 6))
def test_a_polygon_around_is_a_zone(corners: int, turn: float) -> None:
    assert len(ZoneSettings.from_yaml(regular(corners, turn)).points) == corners


@given(st.sampled_from([(5, 2), (7, 2), (7, 3), (8, 3)]), st.floats(0, 6))
def test_a_star_crosses_itself(star: tuple[int, int], turn: float) -> None:
    with pytest.raises(SettingsError, match="cross"):
        ZoneSettings.from_yaml(regular(star[0], turn, star[1]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([["0", "0"], ["1", "1"]], "found 2 points; expected at least 3"),
        ([["0", "0"], ["1", "1"], ["1", "0"], ["0", "1"]], "the sides from points 1 and 3 cross"),
        ([["0", "0"], ["0.5", "0.5"], ["1", "1"]], "area"),
        ([["0", "0"], ["1", "0"], ["1", "1"], ["0", "0"]], "twice"),
        ([["0", "0"], ["1", "0"], ["100", "200"]], "no pixels"),
        ([["0", "0"], ["1", "0"], ["nan", "1"]], "from 0 to 1"),
        ([["0", "0"], ["1", "0"], ["a", "1"]], "two numbers"),
        ([["0", "0"], ["1", "0"], ["1"]], "no list of points"),
        ("0,0,1,1", "no list of points"),
        ({"x": "1"}, "no list of points"),
    ],
)
def test_no_zone(value: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ZoneSettings.from_yaml(value)


def test_a_side_that_touches_another_crosses() -> None:
    bow = [["0.1", "0.1"], ["0.9", "0.1"], ["0.9", "0.9"], ["0.5", "0.1"], ["0.1", "0.9"]]
    with pytest.raises(SettingsError, match="cross"):
        ZoneSettings.from_yaml(bow)


def test_a_line_has_two_points() -> None:
    assert LineSettings.from_yaml([["0", "0.5"], ["1", "0.5"]]).shape("gate").pixels((200, 100)).tolist() == [
        [0, 50],
        [200, 50],
    ]
    with pytest.raises(SettingsError, match="two points"):
        LineSettings.from_yaml([["0", "0.5"], ["1", "0.5"], ["1", "1"]])


@pytest.mark.parametrize("text", ["1280", "1280 x 720", "0x720", "99999x10", "", "axb"])
def test_no_size(text: str) -> None:
    assert FrameSize.from_yaml("1280x720") == FrameSize(1280, 720)
    with pytest.raises(SettingsError, match="1280x720"):
        FrameSize.from_yaml(text)


def test_hours_over_midnight() -> None:
    night, day = Hours.from_yaml("22:00-06:00"), Hours.from_yaml("6:00 - 22:00")
    for hour in range(24):
        for minute in (0, 59):
            moment = datetime(2026, 1, 31, hour, minute)
            assert night.contains(moment) != day.contains(moment)
            assert day.contains(moment) == (6 <= hour < 22)
    evening = Hours.from_yaml("18:00-24:00")
    assert evening.contains(datetime(2026, 1, 1, 23, 59)) and not evening.contains(datetime(2026, 1, 2, 0, 0))


@pytest.mark.parametrize("text", ["22-6", "25:00-06:00", "22:60-06:00", "06:00-06:00", "24:30-06:00", "", "nightly"])
def test_no_hours(text: str) -> None:
    with pytest.raises(SettingsError, match=r"hours|whole day"):
        Hours.from_yaml(text)
