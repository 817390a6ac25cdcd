"""Lock of a file: one holder, until the file is closed."""

from pathlib import Path

from data.files.file_lock import try_lock


def test_a_file_has_one_holder_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("a") as first, path.open("a") as second:
        assert try_lock(first)
        assert not try_lock(second)
        first.close()
        assert try_lock(second)
