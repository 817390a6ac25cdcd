"""Base of the writers: names of images, the folder, interrupted runs."""

from pathlib import Path

import pytest
from PIL import Image

from data.datasets.registry import open_dataset
from data.errors import SettingsError
from data.label_formats.label_registry import LABEL_FORMATS, open_label_writer
from data.label_formats.label_writer import prepare_label_folder
from tests.support.dataset_records import make_image, record


def names_of(folder: Path, images: list[Path]) -> list[str]:
    with open_label_writer("coco", folder, ("cat",)) as writer:
        for image in images:
            writer.add("train", record(image, [[0, 0, 9, 9]], [0]))
    return [Path(each.image).name for each in open_dataset("coco", folder, "train").records]


def test_stems_are_unique_as_labels_are_named_by_them(tmp_path: Path) -> None:
    images = []
    for place in ("a.png", "sub/A.png", "sub/a-2.png", "other/a.bmp"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        images.append(make_image(tmp_path / place, seed=len(images)))
    assert names_of(tmp_path / "out", images) == ["a.png", "A-2.png", "a-2-2.png", "a-3.bmp"]


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        ("a\\b.png", "a_b.png"),
        (".hidden.png", "hidden.png"),
        ("line\nbreak.png", "line_break.png"),
        ("猫.png", "猫.png"),
        ("no suffix", "no suffix.png"),
        ("a.tmp", "a.png"),
        ("ü" * 120 + ".png", "ü" * 100 + ".png"),
        ("bytes\udcff.png", "bytes_.png"),
    ],
)
@pytest.mark.parametrize("form", ["yolo", "coco", "voc"])
def test_any_name_is_one_that_readers_find(form: str, name: str, copy: str, tmp_path: Path) -> None:
    image = tmp_path / name
    made = make_image(tmp_path / "made.png")
    made.rename(image)
    with open_label_writer(form, tmp_path / "out", ("cat",)) as writer:
        writer.add("train", record(image, [[0, 0, 9, 9]], [0]))
    dataset = open_dataset(form, tmp_path / "out", "train")
    assert [Path(each.image).name for each in dataset.records] == [copy]
    assert len(dataset.records[0].labels) == 1 and not dataset.warnings


def test_labels_that_may_be_corrected_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    prepare_label_folder(tmp_path / "labels")
    (tmp_path / "labels" / "a.txt").touch()
    with pytest.raises(SettingsError, match="labels is not empty, its labels may be corrected ones"):
        prepare_label_folder(tmp_path / "labels")
    with pytest.raises(SettingsError, match=r"a\.txt is a file"):
        prepare_label_folder(tmp_path / "labels" / "a.txt")


@pytest.mark.parametrize("form", ["yolo", "coco", "voc"])
def test_an_error_leaves_a_dataset_of_what_was_done(form: str, tmp_path: Path) -> None:
    image = make_image(tmp_path / "a.png")
    with pytest.raises(KeyboardInterrupt), open_label_writer(form, tmp_path / "out", ("cat",)) as writer:
        writer.add("train", record(image, [[0, 0, 9, 9]], [0]))
        raise KeyboardInterrupt
    assert len(open_dataset(form, tmp_path / "out", "train").records) == 1


@pytest.mark.parametrize("form", LABEL_FORMATS)
def test_no_image_no_files(form: str, tmp_path: Path) -> None:
    with open_label_writer(form, tmp_path / "out", ("cat",)):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_boxes_are_cut_at_the_edges_of_the_image(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with open_label_writer("coco", tmp_path / "out", ("cat",)) as writer:
        writer.add("train", record(tmp_path / "a.png", [[-5, -5, 50, 10]], [0], size=None))
    dataset = open_dataset("coco", tmp_path / "out", "train")
    assert dataset.records[0].boxes.tolist() == [[0, 0, 30, 10]] and not dataset.warnings
