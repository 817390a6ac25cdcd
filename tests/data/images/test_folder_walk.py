"""Folder walk: suffixes, hidden files, links, pipes and unreadable folders."""

import os
from pathlib import Path

import pytest

from data.errors import ImageError
from data.images.folder_walk import walk_files


def walk(folder: Path) -> tuple[list[str], list[str]]:
    errors: list[ImageError] = []
    found = [path.relative_to(folder).as_posix() for path in walk_files(folder, frozenset({".jpg"}), errors.append)]
    return sorted(found), [str(error) for error in errors]


def test_files_of_subfolders_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("a.jpg", "B.JPG", "sub/deep/c.jpg", ".hidden.jpg", ".git/d.jpg", "notes.txt", "folder.jpg/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "sub")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    assert walk(tmp_path) == (["B.JPG", "a.jpg", "broken.jpg", "folder.jpg/e.jpg", "sub/deep/c.jpg"], [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_reported_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    found, errors = walk(tmp_path)
    assert found == []
    assert sorted(errors) == [
        f"{tmp_path / name}: skipped, expected a file and found a pipe or a device" for name in ("link.jpg", "pipe.jpg")
    ]


def test_a_folder_that_cannot_be_read_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.jpg").touch()
    scandir = os.scandir

    def guarded(folder: Path) -> object:
        if Path(folder).name == "closed":  # root may read everything
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    assert walk(tmp_path) == (["open/a.jpg"], [f"{tmp_path / 'closed'}: the folder cannot be read: Permission denied"])
