"""Downloads from a server of one's own: cut, resumed, changed, broken, hostile."""

import hashlib
import io
import re
import shutil
import socket
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from data.download import disk
from data.download.download import download
from data.download.sources import SOURCES, DownloadPart, DownloadSource
from data.errors import DatasetError

FILES = {"set/list.txt": b"1\n2\n", "set/image.jpg": bytes(range(256)) * 400}


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


class Seen(NamedTuple):
    path: str
    range: str | None
    if_range: str | None


class Server:
    """A server with switches: `content` by path, and how it misbehaves."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.etag: str | None = '"1"'
        self.ranges = True
        self.cut_after: list[int | None] = []  # one for each answer: bytes of the body until the connection is cut
        self.status: list[int] = []  # answers before all others
        self.seen: list[Seen] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        self.seen.append(Seen(handler.path, asked, condition))
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        content = self.content.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        total, start = len(content), 0
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        if match and self.ranges and condition in (None, self.etag):
            start = int(match[1])
            if start >= total:
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{total}")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            handler.send_response(200)
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(total - start))
        handler.end_headers()
        cut = self.cut_after.pop(0) if self.cut_after else None
        handler.wfile.write(content[start:] if cut is None else content[start : start + cut])
        handler.wfile.flush()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()
    server.thread.join()


def serve(
    server: Server, archive: bytes | None = None, name: str = "set.tar", holds: str = "set/list.txt"
) -> DownloadSource:
    """Put an archive on the server; the source that describes it."""
    content = tar(FILES) if archive is None else archive
    server.content[f"/files/{name}"] = content
    return DownloadSource(server.url, {"train": DownloadPart(f"files/{name}", hashlib.md5(content).hexdigest(), holds)})


def fetch(source: DownloadSource, root: Path, **options: Any) -> list[str]:
    return download(source, root, **({"waits": (0, 0), "timeout": 10} | options))


def state(root: Path) -> set[str]:
    return {path.name for path in (root / ".downloads").iterdir()}


def assert_unpacked(root: Path) -> None:
    for name, content in FILES.items():
        assert (root / name).read_bytes() == content


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


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "C:evil"])
def test_a_zip_that_leads_out_is_refused_whole(server: Server, tmp_path: Path, path: str) -> None:
    source = serve(server, zipped(FILES | {path: b"evil"}), "set.zip")
    root = tmp_path / "root"
    with pytest.raises(DatasetError, match="leads out of the folder"):
        fetch(source, root)
    assert {entry.name for entry in root.iterdir()} == {".downloads"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["root"]


def test_a_zip_with_a_link_is_refused(server: Server, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    with pytest.raises(DatasetError, match="leads out of the folder"):
        fetch(serve(server, out.getvalue(), "set.zip"), tmp_path)


def test_a_tar_that_leads_out_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not to be trusted"):
        fetch(serve(server, tar({"../evil": b"evil"})), tmp_path / "root")
    assert [entry.name for entry in tmp_path.iterdir()] == ["root"]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(DatasetError, match="not to be trusted"):
        fetch(serve(server, out.getvalue(), "other.tar"), tmp_path / "root")


@pytest.mark.parametrize("name", ["set.tar", "set.zip"])
def test_what_is_no_archive(server: Server, tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        fetch(serve(server, b"<html>" * 500, name), tmp_path)


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


def test_the_official_tables() -> None:
    """Well-formed, and every address below its base."""
    for source in SOURCES.values():
        assert source.base_url.endswith("/")
        for part in source.parts.values():
            assert re.fullmatch(r"[0-9a-f]{32}", part.md5)
            assert part.path.endswith((".tar", ".zip"))
            assert not part.path.startswith("/")
    assert SOURCES["voc"].base_url + SOURCES["voc"].parts["2007-test"].path == (
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar"
    )
    assert urllib.request.Request(SOURCES["coco"].base_url + "zips/val2017.zip").host == "images.cocodataset.org"
