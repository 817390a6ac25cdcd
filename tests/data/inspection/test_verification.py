"""Verification before training: class names, unreadable images, `strict`, for both kinds of datasets."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.classification.image_folder import open_image_folder
from data.datasets.records import Dataset
from data.errors import DatasetError
from data.inspection.verification import unreadable_note, verify_dataset, verify_image_folder
from tests.support.dataset_records import CAT, damaged_png, make_image, record


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


def test_both_kinds_find_cut_off_images_and_on_request_any_damage(tmp_path: Path, clean: Dataset) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    whole, cut, damaged = (tmp_path / "train" / "cat" / f"{name}.png" for name in ("whole", "cut", "damaged"))
    cut.write_bytes(make_image(whole).read_bytes()[:200])
    damaged_png(damaged)
    images = open_image_folder("imagefolder", tmp_path, "train")
    boxes = replace(clean, records=[record(path, [[0, 0, 9, 9]], [CAT]) for path in (whole, cut, damaged)])
    calls: list[int] = []
    for decode, found in ((False, ["cut.png"]), (True, ["cut.png", "damaged.png"])):
        for verified in (
            verify_dataset(boxes, decode=decode, progress=calls.append),
            verify_image_folder(images, decode=decode, progress=calls.append),
        ):
            assert sorted(Path(line.partition(": ")[0]).name for line in verified.unreadable) == found
    assert sum(calls) == 4 * 3


def test_the_note_on_unreadable_images_names_the_first_ones() -> None:
    assert unreadable_note([], "see there") == []
    lines = unreadable_note([f"{i}.jpg: damaged" for i in range(9)], "see there")
    assert lines[0] == "note: 9 images cannot be read and are left out:"
    assert lines[1] == "  0.jpg: damaged" and lines[-1].endswith("see there")
