"""Archives that are damaged or lead out of the folder."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from data.errors import DatasetError
from tests.support.archive_server import FILES, Server, fetch, serve, tar, zipped


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
