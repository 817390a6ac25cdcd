"""The VOC reader, on devkits written by hand."""

from pathlib import Path

import numpy as np
import pytest

from data.datasets.registry import open_dataset
from data.datasets.voc import CLASS_NAMES, read_voc
from data.errors import DatasetError
from data.images.image_io import write_image


def voc_object(name: str, box: tuple[object, ...], extra: str = "<difficult>0</difficult>") -> str:
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


def add(
    folder: Path, image_id: str, objects: str = "", head: str | None = None, file: str | None = None, write: bool = True
) -> None:
    """An image of 100 × 50 and its annotation, with a proper head by default."""
    head = f"<filename>{image_id}.jpg</filename>" if head is None else head
    if write:
        write_image(folder / "JPEGImages" / (file or f"{image_id}.jpg"), np.zeros((50, 100, 3), dtype=np.uint8))
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    size = "" if "nosize" in head else "<size><width>100</width><height>50</height><depth>3</depth></size>"
    text = f"<annotation>{head}{size}{objects}</annotation>"
    (folder / "Annotations" / f"{image_id}.xml").write_text(text)


def add_split(folder: Path, name: str, text: str) -> None:
    (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(text)


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    root = tmp_path / "VOCdevkit"
    y7, y12 = root / "VOC2007", root / "VOC2012"
    hard = "<truncated>1</truncated><difficult>1</difficult>"
    add(y7, "000001", voc_object("dog", (1, 1, 100, 50)) + voc_object("person", (10, 20, 30, 40), hard))
    add(y7, "000002")
    add(y12, "2008_000001", voc_object("tvmonitor", (2.5, 3.5, 10, 11)))
    add_split(y7, "trainval", "000001\n000002\n")
    add_split(y7, "test", "000002\n\n")
    add_split(y7, "dog_trainval", "000001  1\n000002 -1\n")
    add_split(y12, "trainval", "2008_000001\n")
    return root


def test_boxes_labels_and_flags_by_hand(devkit: Path) -> None:
    dataset = open_dataset("voc", devkit, "2007-trainval")
    assert dataset.class_names == CLASS_NAMES and len(CLASS_NAMES) == 20 and list(CLASS_NAMES) == sorted(CLASS_NAMES)
    first, second = dataset.records
    np.testing.assert_array_equal(first.boxes, [[0, 0, 100, 50], [9, 19, 30, 40]])
    assert first.boxes.dtype == np.float32 and first.labels.dtype == np.int64
    assert first.labels.tolist() == [CLASS_NAMES.index("dog"), CLASS_NAMES.index("person")] == [11, 14]
    assert first.difficult.tolist() == [False, True] and not first.crowd.any()
    assert first.areas.tolist() == [5000, 21 * 21]
    assert first.size == (100, 50) and first.image.is_file() and first.image_id == "000001"
    assert second.boxes.shape == (0, 4) and second.labels.shape == second.difficult.shape == second.areas.shape == (0,)
    assert dataset.warnings == []


@pytest.mark.parametrize(
    ("split", "ids"),
    [
        ("2007-trainval,2012-trainval", ["000001", "000002", "2008_000001"]),
        ("trainval", ["000001", "000002", "2008_000001"]),
        ("2012-trainval, 2007-test", ["2008_000001", "000002"]),
        ("test", ["000002"]),
        ("2007-dog_trainval", ["000001"]),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_splits_and_roots(devkit: Path, split: str, ids: list[str], inside: bool) -> None:
    dataset = read_voc(devkit if inside else devkit.parent, split)
    assert [record.image_id for record in dataset.records] == ids


def test_the_root_may_be_one_year_or_a_folder_without_one(devkit: Path) -> None:
    assert len(read_voc(devkit / "VOC2007", "2007-trainval").records) == 2
    assert len(read_voc(devkit / "VOC2007", "trainval").records) == 2
    own = (devkit / "VOC2007").rename(devkit.parent / "own")
    assert len(read_voc(own, "trainval").records) == 2


def test_an_image_of_two_splits_counts_once_and_is_told(devkit: Path) -> None:
    dataset = read_voc(devkit, "2007-trainval,2007-test")
    assert [record.image_id for record in dataset.records] == ["000001", "000002"]
    assert len(dataset.warnings) == 1 and "listed twice" in dataset.warnings[0] and "000002" in dataset.warnings[0]


@pytest.mark.parametrize("split", ["val", "2012-test", "2009-trainval", "", "2007-"])
def test_a_missing_split_lists_those_that_exist(devkit: Path, split: str) -> None:
    with pytest.raises(DatasetError, match=r"there are 2007-test, 2007-trainval, 2012-trainval$"):
        read_voc(devkit, split)


def test_missing_and_foreign_roots_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such"):
        open_dataset("voc", tmp_path / "none", "trainval")
    with pytest.raises(DatasetError, match="expected VOC2007"):
        read_voc(tmp_path, "trainval")


def test_an_empty_split_is_an_error(devkit: Path) -> None:
    add_split(devkit / "VOC2007", "empty", "\n")
    with pytest.raises(DatasetError, match="lists no images"):
        read_voc(devkit, "2007-empty")


def one(tmp_path: Path, objects: str = "", **options: object) -> Path:
    add(tmp_path, "a", objects, **options)  # type: ignore[arg-type]
    add_split(tmp_path, "train", "a\n")
    return tmp_path


def test_missing_optional_fields_are_tolerated(tmp_path: Path) -> None:
    root = one(tmp_path, voc_object("cat", (1, 2, 3, 4), extra=""), head="<nosize/><filename>a.jpg</filename>")
    dataset = read_voc(root, "train")
    assert dataset.records[0].size == (100, 50), "read from the image's header"
    assert dataset.records[0].difficult.tolist() == [False]
    assert dataset.warnings == []


def test_the_filename_is_honoured(tmp_path: Path) -> None:
    root = one(tmp_path, head="<filename>C:\\images\\other name.png</filename>", file="other name.png")
    dataset = read_voc(root, "train")
    assert dataset.records[0].image.name == "other name.png" and dataset.warnings == []


@pytest.mark.parametrize("head", ["", "<filename>gone.jpg</filename>", "<filename>../../secret.jpg</filename>"])
def test_without_a_usable_filename_the_annotation_s_own_name_counts(tmp_path: Path, head: str) -> None:
    dataset = read_voc(one(tmp_path, head=head, file="a.png"), "train")
    assert dataset.records[0].image == tmp_path / "JPEGImages" / "a.png"
    assert len(dataset.warnings) == 1 and "a.png is used" in dataset.warnings[0] and "a.xml" in dataset.warnings[0]


def test_a_missing_image_or_annotation_is_named(tmp_path: Path) -> None:
    root = one(tmp_path, write=False)
    with pytest.raises(DatasetError, match=r"a\.xml: its image 'a\.jpg' is not in"):
        read_voc(root, "train")
    (tmp_path / "Annotations" / "a.xml").unlink()
    with pytest.raises(DatasetError, match=r"a\.xml: No such file"):
        read_voc(root, "train")


def test_names_with_blanks_are_not_two_columns(tmp_path: Path) -> None:
    add(tmp_path, "photo 1")
    add_split(tmp_path, "train", "photo 1\n")
    assert read_voc(tmp_path, "train").records[0].image_id == "photo 1"


def test_boxes_outside_are_clipped_and_empty_ones_dropped_with_a_warning_each(tmp_path: Path) -> None:
    objects = (
        voc_object("cat", (-10, 5, 120, 20))
        + voc_object("dog", (200, 5, 220, 20))
        + voc_object("cow", (30, 20, 10, 40))
        + voc_object("bus", (5, 5, 5, 5))
    )
    dataset = read_voc(one(tmp_path, objects), "train")
    np.testing.assert_array_equal(dataset.records[0].boxes, [[0, 4, 100, 20], [4, 4, 5, 5]])
    assert dataset.records[0].labels.tolist() == [CLASS_NAMES.index("cat"), CLASS_NAMES.index("bus")]
    assert len(dataset.records[0].areas) == len(dataset.records[0].difficult) == 2
    assert [" clipped " in line for line in dataset.warnings] == [True, True, False, False]
    assert all("a.xml" in line for line in dataset.warnings)
    assert "[-11, 4, 120, 20]" in dataset.warnings[0]


def test_an_unknown_class_names_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.xml: class 'Areoplane' .* the nearest is 'aeroplane'"):
        read_voc(one(tmp_path, voc_object("Areoplane", (1, 1, 5, 5))), "train")


def test_own_classes_come_from_labels_txt(tmp_path: Path) -> None:
    root = one(tmp_path, voc_object("screw", (1, 1, 5, 5)))
    (root / "labels.txt").write_text("nut\nscrew\n\n")
    dataset = read_voc(root, "train")
    assert dataset.class_names == ("nut", "screw") and dataset.records[0].labels.tolist() == [1]
    for text, reason in (("", "no names"), ("nut\nnut\n", "'nut' twice")):
        (root / "labels.txt").write_text(text)
        with pytest.raises(DatasetError, match=reason):
            read_voc(root, "train")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xml",
        b"<annotation><object></annotation>",
        b"\xff\xfe<\0a\0",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxxxxxx">]><annotation>&x;</annotation>',
        b'<?xml version="1.0" encoding="nonsense"?><annotation>',
    ],
)
def test_damaged_and_dangerous_xml_names_the_file(tmp_path: Path, content: bytes) -> None:
    root = one(tmp_path)
    (root / "Annotations" / "a.xml").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.xml") as error:
        read_voc(root, "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "item",
    [
        "<object><name>cat</name></object>",
        "<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>",
        voc_object("cat", (1, "two", 3, 4)),
        voc_object("cat", (1, "nan", 3, 4)),
    ],
)
def test_an_object_without_four_numbers_is_dropped(tmp_path: Path, item: str) -> None:
    dataset = read_voc(one(tmp_path, item + voc_object("dog", (1, 1, 5, 5))), "train")
    assert dataset.records[0].labels.tolist() == [CLASS_NAMES.index("dog")]
    assert len(dataset.warnings) == 1 and "no numbers xmin" in dataset.warnings[0] and "a.xml" in dataset.warnings[0]


def test_damaged_annotations_and_missing_images_cost_only_themselves(tmp_path: Path) -> None:
    for name in "abcd":
        add(tmp_path, name, voc_object("dog", (1, 1, 5, 5)))
    add_split(tmp_path, "train", "a\nb\nc\nd\n")
    (tmp_path / "Annotations" / "b.xml").write_text("<annotation>")
    (tmp_path / "Annotations" / "c.xml").unlink()
    (tmp_path / "JPEGImages" / "d.jpg").unlink()
    dataset = read_voc(tmp_path, "train")
    assert [record.image_id for record in dataset.records] == ["a", "d"], "a missing image is for check_headers"
    assert ["b.xml" in dataset.warnings[0], "c.xml" in dataset.warnings[1], len(dataset.warnings)] == [True, True, 2]


def test_a_filename_of_another_annotation_s_image_is_not_used(tmp_path: Path) -> None:
    add(tmp_path, "a", head="<filename>b.jpg</filename>")
    add(tmp_path, "b", head="<filename>a.jpg</filename>")
    add_split(tmp_path, "train", "a\nb\n")
    dataset = read_voc(tmp_path, "train")
    assert [record.image.name for record in dataset.records] == ["a.jpg", "b.jpg"]
    assert ["the image of another annotation" in line for line in dataset.warnings] == [True, True]


def test_a_few_unknown_classes_are_dropped_and_a_case_is_read(tmp_path: Path) -> None:
    names = ("dog", "Dog ", "dgo", "cat")
    dataset = read_voc(
        one(tmp_path, "".join(voc_object(name, (i + 1, 1, 50, 50)) for i, name in enumerate(names))), "train"
    )
    assert dataset.records[0].labels.tolist() == [CLASS_NAMES.index(name) for name in ("dog", "dog", "cat")]
    assert dataset.warnings[0].startswith("class 'Dog' read as 'dog'")
    assert "'dgo'" in dataset.warnings[1] and "the nearest is 'dog'" in dataset.warnings[1]


@pytest.mark.parametrize("line", ["a.jpg", "JPEGImages/a.png", "C:\\VOC\\JPEGImages\\a.jpg", "a 1", "a"])
def test_lines_of_a_split_as_tools_write_them(tmp_path: Path, line: str) -> None:
    add(tmp_path, "a")
    add_split(tmp_path, "train", f"{line}\n")
    assert [record.image_id for record in read_voc(tmp_path, "train").records] == ["a"]


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    root = one(tmp_path, voc_object("Schlüssel", (1, 1, 5, 5)))
    (root / "labels.txt").write_bytes("Schlüssel\n".encode(encoding))
    (root / "ImageSets" / "Main" / "train.txt").write_bytes("a\n".encode(encoding))
    file = root / "Annotations" / "a.xml"
    file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    dataset = read_voc(root, "train")
    assert dataset.class_names == ("Schlüssel",) and len(dataset.records[0].labels) == 1


def test_the_label_map_of_cvat(tmp_path: Path) -> None:
    root = one(tmp_path, voc_object("nut", (1, 1, 5, 5)))
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nnut:1,2,3::\nbolt:4,5,6::\n"
    )
    assert read_voc(root, "train").class_names == ("nut", "bolt")


def test_annotations_with_a_suffix_in_capitals(tmp_path: Path) -> None:
    add(tmp_path, "a", voc_object("dog", (1, 1, 9, 9)))
    (tmp_path / "Annotations" / "a.xml").rename(tmp_path / "Annotations" / "a.XML")
    (tmp_path / "Annotations" / "._a.xml").write_bytes(b"litter of another system")
    add_split(tmp_path, "train", "a\n")
    for split in ("train", "all"):
        dataset = open_dataset("voc", tmp_path, split)
        assert [len(record.labels) for record in dataset.records] == [1] and dataset.warnings == []
