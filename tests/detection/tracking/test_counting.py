"""Lines and zones: what the command line says, and what is counted at them."""

from collections.abc import Sequence

import numpy as np
import pytest

from data.errors import SettingsError
from detection.tracking.counting import Counting, Tally

supervision = pytest.importorskip("supervision")
NAMES = ("car", "person")
SIZE = (200, 100)


def objects(*places: tuple[int, float, float], labels: Sequence[int] | None = None) -> "supervision.Detections":
    """Boxes of 10 by 10 with these (number, x, y) as the middle of their lower edge."""
    boxes = [(x - 5, y - 10, x + 5, y) for _, x, y in places]
    return supervision.Detections(
        xyxy=np.array(boxes, np.float64).reshape(-1, 4),
        class_id=np.array(labels or [0] * len(places), int),
        tracker_id=np.array([number for number, _, _ in places], int),
    )


NOBODY = objects()


def count(tally: Tally, path: Sequence[tuple[float, float] | None], number: int = 1) -> dict:
    """One object that is at each of these places, or out of sight at None."""
    last = NOBODY
    for place in path:
        if place is None:
            tally.update(NOBODY, last)
        else:
            last = objects((number, *place))
            tally.update(last, NOBODY)
    return tally.to_dict()


def horizontal() -> Tally:
    """A line across the middle of the image, from left to right."""
    return Tally(Counting.parse(["0,0.5,1,0.5"], []), SIZE, NAMES)


def ways(counts: dict) -> tuple[int, int]:
    (line,) = counts["lines"]
    return line["in"].get("car", 0), line["out"].get("car", 0)


def test_shares_and_pixels_are_told_apart() -> None:
    counting = Counting.parse(["0,0.5,1,0.5", "0,50,200,50"], ["0.1,0.1,0.9,0.1,0.9,0.9", "0,0,2,0,2,2,0,2"])
    assert [shape.relative for shape in (*counting.lines, *counting.zones)] == [True, False, True, False]
    assert counting.lines[0].pixels(SIZE).tolist() == counting.lines[1].pixels(SIZE).tolist() == [[0, 50], [200, 50]]
    np.testing.assert_allclose(counting.zones[0].pixels(SIZE), [[20, 10], [180, 10], [180, 90]])
    assert Counting.parse([], []) == Counting()


@pytest.mark.parametrize(
    ("lines", "zones", "words"),
    [
        (["1,2,3"], [], ["--line '1,2,3'", "x1,y1,x2,y2"]),
        (["1,2,3,4,5,6"], [], ["--line '1,2,3,4,5,6'"]),
        (["a,b,c,d"], [], ["--line 'a,b,c,d'"]),
        (["0,0,nan,1"], [], ["--line"]),
        (["0,0,inf,1"], [], ["--line"]),
        (["-1,0,5,5"], [], ["--line"]),
        (["5,5,5,5"], [], ["make no line"]),
        ([""], [], ["--line ''"]),
        ([], ["0,0,1,1"], ["--zone '0,0,1,1'", "x3,y3"]),
        ([], ["0,0,1,1,2,2,3"], ["--zone"]),
        ([], ["0,0,5,5,9,9"], ["make no zone"]),
        ([], ["0,0,5,5,0,0"], ["make no zone"]),
    ],
)
def test_nonsense_is_told_in_one_line(lines: list[str], zones: list[str], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Counting.parse(lines, zones)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_what_leaves_the_image_is_told_with_its_size() -> None:
    with pytest.raises(SettingsError, match="'--zone 0,0,300,0,300,50' reaches to 300,50, and the frame is 200x100"):
        Tally(Counting.parse([], ["0,0,300,0,300,50"]), SIZE, NAMES)


def test_crossing_counts_by_way() -> None:
    """ "in" is to the left of who walks from the line's first point to its second: up."""
    assert ways(count(horizontal(), [(100, y) for y in (80, 70, 60, 45, 40)])) == (1, 0)
    assert ways(count(horizontal(), [(100, y) for y in (20, 30, 45, 60, 70)])) == (0, 1)
    turned = Tally(Counting.parse(["1,0.5,0,0.5"], []), SIZE, NAMES)
    assert ways(count(turned, [(100, y) for y in (80, 70, 60, 45, 40)])) == (0, 1)


def test_trembling_on_the_line_counts_nothing() -> None:
    assert ways(count(horizontal(), [(100, y) for y in (60, 55, 49, 51, 49, 52, 48, 51, 60, 70)])) == (0, 0)


def test_there_and_back_counts_both_ways() -> None:
    path = [(100, y) for y in (80, 60, 40, 30, 20, 40, 60, 80)]
    assert ways(count(horizontal(), path)) == (1, 1)


def test_standing_beyond_the_line_counts_once() -> None:
    assert ways(count(horizontal(), [(100, 80), (100, 60), *[(100, 40)] * 50])) == (1, 0)


def test_passing_out_of_sight_counts() -> None:
    assert ways(count(horizontal(), [(100, 80), (100, 70), (100, 60), *[None] * 20, (100, 30), (100, 20)])) == (1, 0)


def test_beside_the_line_nothing_counts() -> None:
    tally = Tally(Counting.parse(["0,50,80,50"], []), SIZE, NAMES)
    assert ways(count(tally, [(100, y) for y in (80, 70, 60, 45, 40, 30)])) == (0, 0)


def test_each_line_class_and_object_counts_for_itself() -> None:
    tally = Tally(Counting.parse(["0,0.5,1,0.5", "0.5,0,0.5,1"], []), SIZE, NAMES)
    for step in range(10):  # one goes up, one to the right, one stays
        seen = objects((1, 50, 80 - 6 * step), (2, 60 + 8 * step, 20), (3, 20, 20), labels=[0, 1, 1])
        tally.update(seen, NOBODY)
    # From above to below, left is the image's right.
    assert tally.to_dict()["lines"] == [{"in": {"car": 1}, "out": {}}, {"in": {"person": 1}, "out": {}}]


def test_zones_count_who_is_inside_now() -> None:
    tally = Tally(Counting.parse([], ["0,0,100,0,100,100,0,100", "1,0.5,0.5,0,0.5,1"]), SIZE, NAMES)
    tally.update(objects((1, 50, 50), (2, 90, 100), (3, 150, 50), labels=[0, 1, 0]), NOBODY)
    assert tally.to_dict()["zones"] == [{"now": {"car": 1, "person": 1}}, {"now": {"car": 1}}]
    tally.update(objects((1, 50, 50)), objects((3, 150, 50)))  # who is not seen is not said to be there
    assert tally.to_dict()["zones"] == [{"now": {"car": 1}}, {"now": {}}]
    tally.update(NOBODY, NOBODY)
    assert tally.to_dict()["zones"] == [{"now": {}}, {"now": {}}]


def test_a_zone_of_the_whole_image_holds_who_stands_on_its_lower_edge() -> None:
    tally = Tally(Counting.parse([], ["0,0,1,0,1,1,0,1"]), SIZE, NAMES)
    tally.update(objects((1, 100, 100), (2, 5, 100)), NOBODY)
    assert tally.to_dict()["zones"] == [{"now": {"car": 2}}]


def test_objects_add_up() -> None:
    tally = Tally(Counting(), SIZE, NAMES)
    tally.add([0, 1, 0])
    tally.add([0])
    assert tally.to_dict() == {"objects": {"car": 3, "person": 1}, "lines": [], "zones": []}
