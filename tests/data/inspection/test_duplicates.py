"""Duplicates within a split and between splits."""

import shutil
from pathlib import Path

from data.inspection.duplicates import find_duplicates
from tests.support.dataset_records import dataset, make_image, record


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
