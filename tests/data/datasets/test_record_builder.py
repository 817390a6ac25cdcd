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


def test_the_size_of_the_image_counts_where_the_boxes_fit_it_alone(tmp_path: Path) -> None:
    image = make_image(tmp_path / "a.png", 160, 120)

    def build(box: list[float], size: tuple[int, int]) -> tuple[list[float], tuple[int, int] | None, list[str]]:
        warnings: list[str] = []
        found = build_record(image, "a", [box], [0], size=size, where="a.xml", warnings=warnings)
        return found.boxes[0].tolist(), found.size, [line.partition(": ")[0] for line in warnings]

    ignored = "boxes fit the image, but not the annotated size, which is ignored"
    assert build([100, 10, 150, 110], (120, 160)) == ([100, 10, 150, 110], (160, 120), [ignored])
    assert build([10, 10, 110, 110], (120, 160)) == ([10, 10, 110, 110], (120, 160), [])
    clipped = "box clipped to its image"
    assert build([10, 10, 122, 110], (120, 160)) == ([10, 10, 120, 110], (120, 160), [clipped])  # drawn inexactly
    assert build([10, 10, 190, 110], (120, 160)) == ([10, 10, 120, 110], (120, 160), [clipped])  # fits neither


def test_boxes_smaller_than_a_pixel_are_kept_with_a_warning() -> None:
    warnings: list[str] = []
    boxes = [[0.1, 0.2, 0.5, 0.9], [3, 3, 3.5, 9]]
    found = build_record(Path("a.jpg"), "a", boxes, [0, 1], size=(10, 10), where="a.json", warnings=warnings)
    assert len(found.labels) == 2
    assert warnings == ["box smaller than a pixel, is it relative to the image?: a.json: [0.1, 0.2, 0.5, 0.9]"]


def test_nearly_repeated_objects_are_kept_with_a_warning() -> None:
    warnings: list[str] = []
    boxes = [[10, 10, 60, 60], [10.5, 9.5, 61, 60], [10, 10, 60, 60.5], [10, 10, 60, 60.5], [10, 10, 60, 64]]
    found = build_record(
        Path("a.jpg"), "a", boxes, [0, 0, 1, 0, 0], crowd=[False, False, False, True, False], size=(100, 100),
        where="a.json", warnings=warnings,
    )  # fmt: skip
    assert len(found.labels) == 5
    assert warnings == ["nearly the same object twice, both are kept: a.json: [10, 10, 60, 60] and [10.5, 9.5, 61, 60]"]
