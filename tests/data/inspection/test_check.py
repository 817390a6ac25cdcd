"""The doctor finds each fault that is planted, and none in a clean data set."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets.records import Dataset, Record
from data.inspection.check import inspect_split
from data.inspection.contact_sheet import contact_sheet
from data.inspection.duplicates import find_duplicates
from data.inspection.findings import Finding, SplitReport
from data.inspection.report import as_json, count_faults, listing, summary

CAT, DOG = 0, 1


def make_image(path: Path, width: int = 200, height: int = 120, seed: int = 0) -> Path:
    """An image of noise, so that seeds make different files."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def record(
    path: Path,
    boxes: list[list[float]],
    labels: list[int],
    size: tuple[int, int] | None = (200, 120),
    crowd: list[int] | None = None,
) -> Record:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    areas = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    crowds = np.zeros(len(labels), bool) if crowd is None else np.array(crowd, bool)
    return Record(path, path.stem, xyxy, np.array(labels, np.int64), np.zeros(len(labels), bool), crowds, areas, size)


def dataset(records: list[Record], split: str = "train", warnings: list[str] | None = None) -> Dataset:
    return Dataset("voc", split, ("cat", "dog"), records, warnings or [])


def kinds(report: SplitReport) -> list[str]:
    return sorted(finding.kind for finding in report.findings)


@pytest.fixture
def clean(tmp_path: Path) -> Dataset:
    """Areas 100 (small), 32² and 95·96 (medium), 96² (large), and a crowd that counts for none."""
    first = record(
        make_image(tmp_path / "a.png"),
        [[0, 0, 10, 10], [10, 10, 42, 42], [0, 0, 95, 96], [100, 0, 196, 96]],
        [CAT, CAT, CAT, DOG],
    )
    second = record(make_image(tmp_path / "b.png", seed=1), [[0, 0, 200, 120]], [DOG], crowd=[1])
    return dataset([first, second])


def test_counts_of_a_clean_split(clean: Dataset) -> None:
    report = inspect_split(clean)
    assert report.findings == []
    assert (report.images, report.objects, report.crowd, report.difficult) == (2, 5, 1, 0)
    assert report.classes == {"cat": 3, "dog": 2}
    assert report.sizes == {"small": 0.25, "medium": 0.5, "large": 0.25}
    assert (report.most_objects, report.without_objects) == (4, 0)


def test_the_summary_shows_a_bar_for_each_class(clean: Dataset) -> None:
    text = summary(inspect_split(clean), width=6)
    assert "voc train: 2 images, 5 objects (0 difficult, 1 crowd)" in text
    assert "25.0% small, 50.0% medium, 25.0% large" in text
    assert text.splitlines()[-2:] == ["  cat         3 ######", "  dog         2 ####"]


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


def test_cut_off_pixels_are_found_by_the_full_look_only(tmp_path: Path, clean: Dataset) -> None:
    whole = make_image(tmp_path / "whole.jpg", seed=2).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    cut = dataset([*clean.records, record(tmp_path / "cut.jpg", [[0, 0, 5, 5]], [CAT])])
    assert kinds(inspect_split(cut)) == ["unreadable"]
    assert kinds(inspect_split(cut, quick=True)) == []


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


def test_leaks_between_splits_and_within(tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
    first = make_image(tmp_path / "train" / "1.png", seed=1)
    copy = Path(shutil.copy(first, tmp_path / "val" / "9.png"))
    again = Path(shutil.copy(first, tmp_path / "train" / "2.png"))
    same_name = make_image(tmp_path / "val" / "1.png", seed=2)
    other = make_image(tmp_path / "val" / "3.png", seed=3)
    train = dataset([record(first, [], []), record(again, [], [])])
    val = dataset([record(copy, [], []), record(same_name, [], []), record(other, [], [])], split="val")

    found = find_duplicates([train, val])
    assert [(finding.kind, finding.where) for finding in found] == [("twice", "2"), ("leak", "9"), ("name", "1")]
    assert str(first) in found[1].text
    assert str(copy) in found[1].text
    assert find_duplicates([val]) == []


def test_one_file_in_two_splits_is_a_leak_under_one_name(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png")
    splits = [dataset([record(path, [], [])], split=split) for split in ("train", "val")]
    assert [finding.kind for finding in find_duplicates(splits)] == ["leak"]


def test_files_of_one_length_with_other_bytes_are_no_duplicates(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / f"{index}.jpg").write_bytes(bytes([index] * 100))
    records = [record(tmp_path / f"{index}.jpg", [], []) for index in range(2)]
    assert find_duplicates([dataset(records)]) == []
    assert find_duplicates([dataset([record(tmp_path / "gone.jpg", [], [])])]) == []


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


def test_the_sheet_is_laid_out_in_cells(clean: Dataset) -> None:
    sheet = contact_sheet([clean], columns=6, cell=100)
    assert sheet.shape == (118, 200, 3), "two images make one row of two"
    assert sheet.dtype == np.uint8
    many = dataset(clean.records * 4)
    assert contact_sheet([many], count=7, columns=3, cell=100).shape == (3 * 118, 300, 3)
    np.testing.assert_array_equal(contact_sheet([many], seed=1, cell=50), contact_sheet([many], seed=1, cell=50))


def test_a_box_is_drawn_where_it_is(tmp_path: Path) -> None:
    """A black image of 192 × 96, shown at half its size, 96 × 48 in a cell of 100."""
    Image.new("RGB", (192, 96)).save(tmp_path / "black.png")
    one = dataset([record(tmp_path / "black.png", [[100, 40, 180, 88]], [CAT], size=(192, 96))])
    sheet = contact_sheet([one], count=1, cell=100)
    inside = sheet[18 + 26 : 18 + 26 + 48, 2:98].max(axis=2)  # the image's own place
    assert inside[30, 50] > 200, "left edge at 100 / 2"
    assert inside[30, 89] > 200, "right edge ends at 180 / 2"
    assert inside[43, 70] > 200, "bottom edge ends at 88 / 2"
    assert inside[38, 70] == 0, "nothing inside"
    assert inside[30, 92] == 0
    assert inside[46, 70] == 0
    assert inside[10, 20] == 0


def test_an_unreadable_image_leaves_its_cell(tmp_path: Path, clean: Dataset) -> None:
    sheet = contact_sheet([dataset([record(tmp_path / "none.jpg", [], [])])], cell=100)
    assert sheet.shape == (118, 100, 3)
    assert sheet.max() > 200, "and says so"
