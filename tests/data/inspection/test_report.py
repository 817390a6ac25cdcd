"""Text and JSON of a dataset check."""

from data.datasets.records import Dataset
from data.inspection.check import inspect_split
from data.inspection.findings import Finding
from data.inspection.report import as_json, listing, summary


def test_the_summary_shows_a_bar_for_each_class(clean: Dataset) -> None:
    text = summary(inspect_split(clean), width=6)
    assert "voc train: 2 images, 5 objects (0 difficult, 1 crowd)" in text
    assert "25.0% small, 50.0% medium, 25.0% large" in text
    assert text.splitlines()[-2:] == ["  cat         3 ######", "  dog         2 ####"]


def test_the_listing_is_short_and_counts_all() -> None:
    findings = [Finding("empty", "x", "note"), *(Finding("size", str(index), f"line {index}") for index in range(9))]
    assert listing(findings, shown=2).splitlines() == [
        "  FAULT: 9 images of another size than annotated",
        "    line 0",
        "    line 1",
        "    ... and 7 more",
        "  note: 1 images without objects",
        "    note",
    ]


def test_as_json_counts_faults_of_splits_and_between(clean: Dataset) -> None:
    values = as_json([inspect_split(clean)], [Finding("leak", "a", "..."), Finding("name", "b", "...")])
    assert values["faults"] == 1
    assert values["splits"][0]["classes"] == {"cat": 3, "dog": 2}
    assert values["between"][0] == {"kind": "leak", "where": "a", "text": "..."}
