"""Downloads of whole datasets: fetch, verify, unpack, skip what is complete."""

import hashlib
import shutil
from pathlib import Path

import pytest

from data.download.sources import DownloadPart, DownloadSource
from data.errors import DatasetError
from tests.support.archive_server import FILES, Server, assert_unpacked, fetch, serve, state, tar, zipped


@pytest.mark.parametrize(("name", "archive"), [("set.tar", tar(FILES)), ("set.zip", zipped(FILES))])
def test_fetch_check_unpack(server: Server, tmp_path: Path, name: str, archive: bytes) -> None:
    source = serve(server, archive, name)
    steps: list[tuple[str, int, int | None]] = []
    fetched = fetch(source, tmp_path / "new", progress=lambda part, *step: steps.append(step))
    assert fetched == ["train"]
    assert_unpacked(tmp_path / "new")
    assert state(tmp_path / "new") == {f"{name}.done"}, "the archive is removed, a mark stays"
    assert ("download", len(archive), len(archive)) in steps
    assert ("check", len(archive), len(archive)) in steps
    assert [step for step, _, _ in steps] == sorted(
        (step for step, _, _ in steps), key=["download", "check", "unpack"].index
    )


def test_what_is_complete_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    fetch(source, tmp_path)
    assert fetch(source, tmp_path) == []
    assert len(server.seen) == 1
    shutil.rmtree(tmp_path / "set")
    assert fetch(source, tmp_path) == ["train"], "the mark alone does not make it complete"


def test_a_wrong_checksum_deletes_what_came(server: Server, tmp_path: Path) -> None:
    source = serve(server)
    good = server.content["/files/set.tar"]
    server.content["/files/set.tar"] = b"?" + good[1:]
    with pytest.raises(
        DatasetError, match=rf"set\.tar: MD5 is [0-9a-f]{{32}}, expected {hashlib.md5(good).hexdigest()}"
    ):
        fetch(source, tmp_path)
    assert state(tmp_path) == set()
    assert not (tmp_path / "set").exists()
    server.content["/files/set.tar"] = good
    fetch(source, tmp_path)
    assert_unpacked(tmp_path)


def test_a_kill_while_unpacking_unpacks_again(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = serve(server)

    def killed(part: str, step: str, done: int, total: int | None) -> None:
        if step == "unpack":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(source, tmp_path, progress=killed)
    assert (tmp_path / "set/list.txt").exists()
    assert fetch(source, tmp_path) == ["train"]
    assert_unpacked(tmp_path)
    assert len(server.seen) == 1, "the archive was whole and checked"


def test_another_archive_than_expected(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"does not hold set/list\.txt"):
        fetch(serve(server, tar({"other": b""})), tmp_path)


def test_parts_and_mirror(server: Server, tmp_path: Path) -> None:
    part = serve(server).parts["train"]
    source = DownloadSource("http://host.invalid/", {"train": part, "test": DownloadPart("none.tar", "0" * 32, "none")})
    assert fetch(source, tmp_path, parts=["train", "train"], base_url=server.url.rstrip("/")) == ["train"]
    with pytest.raises(DatasetError, match="unknown part 'val', expected some of train, test"):
        fetch(source, tmp_path, parts=["val"])
    with pytest.raises(DatasetError, match="is no http"):
        fetch(source, tmp_path, base_url="file:///etc/")


def test_a_root_named_vocdevkit_is_the_one_of_the_archives(server: Server, tmp_path: Path) -> None:
    source = serve(server, tar({"VOCdevkit/a.txt": b"a"}), holds="VOCdevkit/a.txt")
    fetch(source, tmp_path / "VOCdevkit")
    assert (tmp_path / "VOCdevkit" / "a.txt").exists()
