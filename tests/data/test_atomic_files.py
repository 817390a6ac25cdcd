"""A file is whole or absent."""

import os
import stat
import threading
from pathlib import Path

import pytest

from data.atomic_files import atomic_path, is_special_file


def test_the_block_writes_aside_and_the_end_of_it_puts_the_file_in_place(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    with atomic_path(path) as aside:
        assert aside.parent == path.parent and aside.suffix == ".json" and aside != path
        aside.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as aside:
        aside.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_the_file_is_as_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_path(str(tmp_path / "a")) as aside:
            aside.write_bytes(b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_an_existing_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o604)
    with atomic_path(path) as aside:
        aside.write_bytes(b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("old")
    (tmp_path / "latest.json").symlink_to("run.json")
    with atomic_path(tmp_path / "latest.json") as aside:
        aside.write_text("new")
    assert (tmp_path / "latest.json").is_symlink() and (tmp_path / "run.json").read_text() == "new"


def test_a_link_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "latest.json").symlink_to("not-mounted/run.json")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "latest.json"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["latest.json"]


@pytest.mark.parametrize("stem", ["x" * 251, "ä" * 125])
def test_a_name_as_long_as_the_file_system_allows(stem: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}.jpg"
    with atomic_path(path) as aside:
        aside.write_text("whole")
    assert path.read_text() == "whole"


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with atomic_path(pipe) as aside:
        aside.write_text("whole")
    reader.join()
    assert read == ["whole"] and is_special_file(pipe)


def test_special_files(tmp_path: Path) -> None:
    plain, link, dead = tmp_path / "plain", tmp_path / "link", tmp_path / "dead"
    plain.write_text("")
    link.symlink_to(os.devnull)
    dead.symlink_to("nothing")
    special = [os.devnull, "/dev/stdout", "/dev/fd/7", "/proc/self/fd/1", link]
    assert [is_special_file(path) for path in special] == [True] * 5
    assert [is_special_file(path) for path in (plain, dead, tmp_path, "/dev")] == [False] * 4
