"""Warnings of a dataset, summarized by kind."""

from data.datasets.dataset_warnings import summarize_warnings, warnings_by_kind


def test_one_line_a_kind_with_number_and_first_example() -> None:
    lines = ["box dropped: a.xml: [1, 2]", "no label file: b.jpg", "box dropped: c.xml: [3, 4]"]
    assert warnings_by_kind(lines) == {"box dropped": ["a.xml: [1, 2]", "c.xml: [3, 4]"], "no label file": ["b.jpg"]}
    assert summarize_warnings(lines) == [
        "box dropped: 2, the first is a.xml: [1, 2]",
        "no label file: b.jpg",
    ]
    assert summarize_warnings([]) == []
    assert summarize_warnings(["7 images differ; the first is a.png"]) == ["7 images differ; the first is a.png"]
