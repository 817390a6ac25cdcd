"""Building of records: clipping, dropping, warnings and defaults."""

from pathlib import Path

from data.datasets.record_builder import build_record, read_size_or_none
from tests.support.dataset_records import make_image


def test_defaults() -> None:
    warnings: list[str] = []
    found = build_record(Path("a.jpg"), "a", [[1, 2, 4, 6]], [3], size=(10, 10), where="a.xml", warnings=warnings)
    assert found.boxes.tolist() == [[1, 2, 4, 6]] and found.labels.tolist() == [3] and found.areas.tolist() == [12]
    assert found.difficult.tolist() == found.crowd.tolist() == [False]
    assert warnings == []


def test_boxes_are_clipped_or_dropped_with_a_warning_each() -> None:
    warnings: list[str] = []
    boxes = [[-0.4, 0, 5, 5], [-3, 0, 5, 12], [20, 20, 30, 30], [float("nan"), 0, 1, 1]]
    found = build_record(
        Path("a.jpg"),
        "a",
        boxes,
        [0, 1, 2, 3],
        size=(10, 10),
        where="a.xml",
        warnings=warnings,
        difficult=[False, True, False, False],
    )
    assert found.boxes.tolist() == [[0, 0, 5, 5], [0, 0, 5, 10]]
    assert found.labels.tolist() == [0, 1] and found.difficult.tolist() == [False, True]
    assert [line.split(": ")[1] for line in warnings] == ["a.xml"] * 4
    assert ["clipped" in line for line in warnings] == [True, True, False, False]


def test_without_a_size_nothing_is_clipped_and_given_areas_stay() -> None:
    found = build_record(
        Path("a.jpg"), "a", [[-5, 0, 5, 5]], [0], size=None, where="", warnings=[], areas=[7], crowd=[True]
    )
    assert found.boxes.tolist() == [[-5, 0, 5, 5]] and found.areas.tolist() == [7] and found.crowd.tolist() == [True]
    assert build_record(Path("a"), "a", [], [], size=None, where="", warnings=[]).boxes.shape == (0, 4)


def test_a_repeated_object_is_dropped_with_a_warning() -> None:
    warnings: list[str] = []
    boxes = [[1, 1, 5, 5], [1, 1, 5, 5], [1, 1, 5, 5], [1, 1, 5, 5]]
    found = build_record(
        Path("a.jpg"), "a", boxes, [0, 0, 1, 0], size=(9, 9), where="a.xml", warnings=warnings,
        difficult=[True, False, False, False], crowd=[False, False, False, True],
    )  # fmt: skip
    assert found.labels.tolist() == [0, 1, 0] and found.crowd.tolist() == [False, False, True]
    assert found.difficult.tolist() == [True, False, False] and len(found.areas) == 3
    assert warnings == ["the same object twice, one dropped: a.xml: [1, 1, 5, 5]"]


def test_size_of_an_unreadable_image_is_none(tmp_path: Path) -> None:
    assert read_size_or_none(make_image(tmp_path / "a.png", 20, 10)) == (20, 10)
    assert read_size_or_none(tmp_path / "gone.png") is None
