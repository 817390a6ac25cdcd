"""`pelee-data download`: arguments, output and errors."""

from pathlib import Path

import pytest

from data.commands import data as cli
from data.datasets.registry import find_root
from data.download import fetch_dataset as download_module
from data.download.sources import SOURCES, DownloadSource
from data.errors import DatasetError, SettingsError


def test_download_passes_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def fake(source: DownloadSource, root: Path, **options: object) -> list[str]:
        calls.append((source, root, options["parts"], options["base_url"]))
        progress = options["progress"]
        assert callable(progress)
        progress("2007-test", "download", 0, None)
        progress("2007-test", "download", 5, 10)
        return ["2007-test"]

    monkeypatch.setattr(download_module, "download", fake)
    argv = ["download", "voc", "--root", str(tmp_path), "--base-url", "http://mirror/", "--parts"]
    assert cli.main([*argv, "2007-test", "2007-trainval"]) == 0
    assert calls == [(SOURCES["voc"], tmp_path, ["2007-test", "2007-trainval"], "http://mirror/")]
    out, err = capsys.readouterr()
    assert out == f"2007-test: unpacked into {tmp_path}\n2007-trainval: already in {tmp_path}\n"
    assert err == "2007-test: download\n"


def test_a_download_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(*_: object, **__: object) -> list[str]:
        raise DatasetError("no network")

    monkeypatch.setattr(download_module, "download", fake)
    assert cli.main(["download", "coco", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: no network\n"


def test_default_folder_is_where_the_commands_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = []

    def fake(source: DownloadSource, root: Path, **options: object) -> list[str]:
        roots.append(root)
        root.mkdir(parents=True)
        return []

    monkeypatch.setattr(download_module, "download", fake)
    monkeypatch.chdir(tmp_path)
    for name in SOURCES:
        with pytest.raises(SettingsError, match=f"datasets/{name} is not there: pelee-data download {name}, then this"):
            find_root(name, None)
        assert cli.main(["download", name]) == 0
        assert roots[-1] == find_root(name, None) == Path("datasets", name)
    assert "already in datasets/coco" in capsys.readouterr().out
    assert find_root("coco", Path("mine")) == Path("mine")


def test_no_default_folder_of_other_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", "--dataset", "yolo"], ["split", "--dataset", "yolo", "--output", str(tmp_path / "a")]):
        assert cli.main(words) == 2
        assert capsys.readouterr().err == "error: --root is needed with --dataset yolo\n"
    assert cli.main(["convert", "--from", "yolo", "--to", "coco", "--output", str(tmp_path / "a")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir())
