"""Verification before training: class names, unreadable images, `strict`, for both kinds of datasets."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.classification.image_folder import open_image_folder
from data.datasets.records import Dataset
from data.errors import DatasetError
from data.inspection.verification import verify_dataset, verify_image_folder
from tests.support.dataset_records import CAT, make_image, record


def test_a_clean_dataset_passes(clean: Dataset) -> None:
    assert verify_dataset(clean, strict=True).records == clean.records


def test_unreadable_images_are_left_out_unless_strict(tmp_path: Path, clean: Dataset) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    faulty = replace(clean, records=[*clean.records, record(tmp_path / "text.jpg", [[0, 0, 9, 9]], [CAT])])
    verified = verify_dataset(faulty)
    assert verified.records == clean.records and "text.jpg" in verified.unreadable[0]
    with pytest.raises(DatasetError, match=r"1 of 3 images .*text\.jpg"):
        verify_dataset(faulty, strict=True)
    with pytest.raises(DatasetError, match="1 of 1 images"):
        verify_dataset(replace(faulty, records=faulty.records[-1:]))


@pytest.mark.parametrize(("names", "reason"), [(("a", "a"), "'a' comes 2 times"), (("a", ""), "empty name")])
def test_class_names_are_checked(clean: Dataset, names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        verify_dataset(replace(clean, class_names=names))


def test_a_dataset_that_lost_all_objects_is_refused_with_the_reason(tmp_path: Path, clean: Dataset) -> None:
    empty = [record(make_image(tmp_path / "e.png"), [], [])]
    assert verify_dataset(replace(clean, records=empty)).records == empty
    with pytest.raises(DatasetError, match="no image has an object; line dropped: 2, the first is a"):
        verify_dataset(replace(clean, records=empty, warnings=["line dropped: a", "line dropped: b"]))


def test_image_folders_have_the_same_rule(tmp_path: Path) -> None:
    for place in ("cat/a.png", "cat/b.png", "dog/c.png"):
        (tmp_path / "train" / place).parent.mkdir(parents=True, exist_ok=True)
        make_image(tmp_path / "train" / place)
    images = open_image_folder("imagefolder", tmp_path, "train")
    assert verify_image_folder(images, strict=True) is images
    (tmp_path / "train" / "cat" / "a.png").write_text("hello")
    verified = verify_image_folder(images)
    assert [file.name for file in verified.files] == ["b.png", "c.png"] and verified.labels.tolist() == [0, 1]
    assert len(verified.unreadable) == 1 and "a.png" in verified.unreadable[0]
    with pytest.raises(DatasetError, match=r"1 of 3 images .*a\.png"):
        verify_image_folder(images, strict=True)
