"""A file is whole or absent."""

import os
import stat
from pathlib import Path

import pytest

from data.atomic_files import atomic_path


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
