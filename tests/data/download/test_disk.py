"""Disk space: checked before a download, and exhausted during one."""

import shutil
from pathlib import Path

import pytest

from data.download import disk
from data.errors import DatasetError
from tests.support.archive_server import Server, fetch, serve


def test_a_disk_that_is_too_small_is_told_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = serve(server)
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 100_000))
    with pytest.raises(DatasetError, match=r"0\.0 GB are free, set\.tar needs .* free some space"):
        fetch(source, tmp_path)
    assert not (tmp_path / ".downloads" / "set.tar.part").exists()


def test_a_disk_that_fills_up(server: Server, tmp_path: Path) -> None:
    """/dev/full takes no byte."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    source = serve(server)
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "set.tar.part").symlink_to("/dev/full")
    with pytest.raises(DatasetError, match="the disk is full; free some space and run the command again"):
        fetch(source, tmp_path)
