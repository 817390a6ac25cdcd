"""Resuming: interrupted connections, changed files, servers without ranges, errors."""

import socket
from pathlib import Path

import pytest

from data.download.sources import DownloadPart, DownloadSource
from data.errors import DatasetError
from tests.support.archive_server import FILES, Seen, Server, assert_unpacked, fetch, serve, state, tar


def test_a_cut_connection_goes_on_by_itself(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    server.cut_after = [1000, 2000]
    fetch(source, tmp_path)
    assert_unpacked(tmp_path)
    assert [seen.range for seen in server.seen] == [None, "bytes=1000-", "bytes=3000-"]
    assert [seen.if_range for seen in server.seen] == [None, '"1"', '"1"']


def test_a_cut_download_is_resumed_by_the_next_command(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    server.cut_after = [1000]
    with pytest.raises(DatasetError, match="was cut after 1,000 bytes; check the network and run the command again"):
        fetch(source, tmp_path, waits=())
    assert (tmp_path / ".downloads" / "set.tar.part").stat().st_size == 1000
    fetch(source, tmp_path)
    assert_unpacked(tmp_path)
    assert server.seen[1].range == "bytes=1000-"
    assert state(tmp_path) == {"set.tar.done"}


def test_tries_end_when_nothing_comes(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    server.cut_after = [1000] + [0] * 50
    with pytest.raises(DatasetError, match="after 1,000 bytes"):
        fetch(source, tmp_path, waits=(0, 0, 0))
    assert len(server.seen) == 1 + 3


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    server.ranges, server.cut_after = False, [1000]
    fetch(source, tmp_path)
    assert_unpacked(tmp_path)
    assert server.seen[1].range == "bytes=1000-", "asked, and ignored"


def test_a_file_that_changed_meanwhile_starts_over(server: Server, tmp_path: Path) -> None:
    """Half of the old file and half of the new one would only be found by the checksum, after all of it."""
    server.content["/files/set.tar"] = tar({"set/list.txt": b"older", "set/other": b"o" * 5000})
    server.cut_after = [1000]
    old = serve(server, server.content["/files/set.tar"])
    with pytest.raises(DatasetError, match="cut"):
        fetch(old, tmp_path, waits=())
    new = serve(server)
    server.etag = '"2"'
    fetch(new, tmp_path)
    assert server.seen[1].if_range == '"1"'
    assert_unpacked(tmp_path)


def test_without_an_etag_the_range_is_asked_for_plainly(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    server.etag, server.cut_after = None, [1000]
    fetch(source, tmp_path)
    assert server.seen[1] == Seen("/files/set.tar", "bytes=1000-", None)
    assert_unpacked(tmp_path)


def test_a_part_that_was_whole_already(server: Server, tmp_path: Path) -> None:
    """A kill between the last byte and the check: the server has no more to give (416)."""
    source = serve(server)
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "set.tar.part").write_bytes(tar(FILES))
    fetch(source, tmp_path)
    assert_unpacked(tmp_path)
    assert len(server.seen) == 1


def test_a_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "set.tar.part").write_bytes(b"x" * 1_000_000)
    fetch(source, tmp_path)
    assert_unpacked(tmp_path)
    assert [seen.range for seen in server.seen] == ["bytes=1000000-", None]


def test_not_found(server: Server, tmp_path: Path) -> None:
    source = DownloadSource(server.url, {"train": DownloadPart("gone.tar", "0" * 32, "set")})
    with pytest.raises(DatasetError, match=r"gone\.tar: the server answered 404 .*--base-url"):
        fetch(source, tmp_path)
    assert len(server.seen) == 1, "asking again would not help"


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    server.status = [503, 429]
    fetch(source, tmp_path)
    assert_unpacked(tmp_path)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = DownloadSource(f"http://127.0.0.1:{port}/", {"train": DownloadPart("a.tar", "0" * 32, "set")})
    with pytest.raises(DatasetError, match=r"a\.tar: cannot be reached .*check the network") as caught:
        fetch(source, tmp_path)
    assert "\n" not in str(caught.value)
