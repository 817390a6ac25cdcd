"""The check finds each planted fault, and none in a dataset without faults."""

from pathlib import Path

import pytest

from data.datasets.records import Dataset
from data.inspection.check import inspect_split
from data.inspection.findings import SplitReport
from data.inspection.report import count_faults
from tests.support.dataset_records import CAT, DOG, damaged_png, dataset, make_image, record


def kinds(report: SplitReport) -> list[str]:
    return sorted(finding.kind for finding in report.findings)


def test_counts_of_a_clean_split(clean: Dataset) -> None:
    report = inspect_split(clean)
    assert report.findings == []
    assert (report.images, report.objects, report.crowd, report.difficult) == (2, 5, 1, 0)
    assert report.classes == {"cat": 3, "dog": 2}
    assert report.sizes == {"small": 0.25, "medium": 0.5, "large": 0.25}
    assert (report.most_objects, report.without_objects) == (4, 0)


def test_progress_is_told_of_each_image(clean: Dataset) -> None:
    calls: list[int] = []
    inspect_split(clean, progress=lambda: calls.append(1))
    assert len(calls) == 2


@pytest.mark.parametrize("quick", [False, True])
def test_what_is_no_image_is_unreadable(tmp_path: Path, clean: Dataset, quick: bool) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    bad = [record(tmp_path / "text.jpg", [[0, 0, 5, 5]], [CAT]), record(tmp_path / "none.jpg", [[0, 0, 5, 5]], [CAT])]
    report = inspect_split(dataset([*clean.records, *bad]), quick=quick)
    assert [(finding.kind, finding.where) for finding in report.findings] == [
        ("unreadable", "text"),
        ("unreadable", "none"),
    ]
    assert "none.jpg" in report.findings[1].text


def test_cut_off_images_are_found_and_other_damage_by_the_full_look_only(tmp_path: Path, clean: Dataset) -> None:
    whole = make_image(tmp_path / "whole.jpg", seed=2).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    cut = dataset([*clean.records, record(tmp_path / "cut.jpg", [[0, 0, 5, 5]], [CAT])])
    assert kinds(inspect_split(cut)) == kinds(inspect_split(cut, quick=True)) == ["unreadable"]
    damaged = dataset([*clean.records, record(damaged_png(tmp_path / "damaged.png"), [[0, 0, 5, 5]], [CAT])])
    assert kinds(inspect_split(damaged)) == ["unreadable"]
    assert kinds(inspect_split(damaged, quick=True)) == []


@pytest.mark.parametrize("quick", [False, True])
def test_another_size_than_annotated(tmp_path: Path, clean: Dataset, quick: bool) -> None:
    turned = record(make_image(tmp_path / "turned.png", 120, 200, seed=3), [[0, 0, 5, 5]], [CAT])
    unknown = record(make_image(tmp_path / "unknown.png", 120, 200, seed=4), [[0, 0, 5, 5]], [CAT], size=None)
    report = inspect_split(dataset([*clean.records, turned, unknown]), quick=quick)
    assert kinds(report) == ["size"]
    assert "annotated as 200 × 120, the image is 120 × 200" in report.findings[0].text


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([5, 5, 5, 20], "has no area"),
        ([20, 5, 5, 20], "has no area"),
        ([float("nan"), 5, 50, 20], "has no area"),
        ([-3, 5, 50, 20], "extends beyond the image of 200 × 120"),
        ([5, 5, 50, 122], "extends beyond the image of 200 × 120"),
        ([0, 0, 200.9, 120.9], None),
    ],
)
def test_boxes(tmp_path: Path, box: list[float], said: str | None) -> None:
    path = make_image(tmp_path / "a.png")
    found = inspect_split(dataset([record(path, [box, [0, 0, 9, 9]], [CAT, DOG])])).findings
    if said is None:
        assert found == []
    else:
        assert [finding.kind for finding in found] == ["box"]
        assert said in found[0].text


def test_classes_images_and_warnings(tmp_path: Path) -> None:
    records = [
        record(make_image(tmp_path / "a.png"), [[0, 0, 9, 9]], [DOG]),
        record(make_image(tmp_path / "b.png"), [], []),
    ]
    report = inspect_split(dataset(records, warnings=["a.xml: box dropped"]))
    assert kinds(report) == ["annotation", "class", "empty"]
    assert [finding.where for finding in report.findings if finding.kind == "class"] == ["cat"]
    assert report.without_objects == 1
    assert count_faults(report.findings) == 2, "an image without objects is a note"
