"""Images found by the paths of other machines, systems and tools."""

from pathlib import Path

import pytest

from data.files.file_finder import FileFinder, file_names


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    "listed",
    [
        "deep/a b.jpg",
        "./deep/a b.jpg",
        "deep\\a b.jpg",
        "train\\deep\\a b.jpg",
        "C:\\sets\\mine\\train\\deep\\a b.jpg",
        "/home/else/mine/train/deep/a b.jpg",
        "/data/local-files/?d=mine/deep/a%20b.jpg",
        "deep/A B.JPG",
        "a b.jpg",
        "https://host/upload/1/1234abcd-a%20b.jpg",
        "a b.png",
    ],
)
def test_every_way_to_write_a_path(tmp_path: Path, listed: str) -> None:
    image = tmp_path / "train" / "deep" / "a b.jpg"
    touch(image)
    assert FileFinder([tmp_path / "train", tmp_path], tmp_path).find(listed) == image


def test_the_first_folder_is_preferred(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "a.jpg", tmp_path / "val" / "a.jpg")
    assert FileFinder([tmp_path / "val"], tmp_path).find("images\\a.jpg") == tmp_path / "val" / "a.jpg"


def test_what_is_not_known_is_none(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg", tmp_path / ".ipynb_checkpoints" / "b.jpg")
    touch(tmp_path / "x" / "._c.jpg", tmp_path / "x" / "notes.txt")
    finder = FileFinder([tmp_path], tmp_path)
    assert [finder.find(name) for name in ("a.jpg", "b.jpg", "c.jpg", "notes.png", "gone.jpg", "")] == [None] * 6


def test_a_file_is_found_for_one_listed_path_only(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    finder = FileFinder([tmp_path], tmp_path)
    assert finder.find("one/a.jpg") == finder.find("one/a.jpg") == tmp_path / "a.jpg"
    assert finder.find("two/a.jpg") is None


def test_file_names(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert file_names(tmp_path) == {"a.jpg"}
    assert file_names(tmp_path / "none") == frozenset()
