"""JSON reports on stdout and in files."""

import json
import os
from pathlib import Path

import pytest

from data.errors import SettingsError
from data.json_output import check_json_target, is_stdout, write_json


def test_stdout_a_file_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(None, {"a": 1})
    assert capsys.readouterr().out == ""
    write_json("-", {"a": "ä"})
    assert capsys.readouterr().out == '{"a": "\\u00e4"}\n'
    target = tmp_path / "new" / "out.json"
    write_json(str(target), {"a": [1]}, indent=2)
    assert json.loads(target.read_text()) == {"a": [1]} and target.read_text().endswith("}\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json("-", float("nan"))


def test_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder; name a file, or - for stdout"):
        check_json_target(str(tmp_path))
    for target in (None, "-", str(tmp_path / "x.json")):
        check_json_target(target)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    """`--json a.jpg b.jpg` would replace an image."""
    for name, content in [("a.jpg", b"\xff\xd8\xff"), ("notes", b"buy milk")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SettingsError, match="exists and is no JSON file"):
            check_json_target(str(tmp_path / name))
    for name, content in [("a", b' {"a": 1}'), ("b.txt", b""), ("c.jsonl", b"anything"), ("d.log", b"[1]")]:
        (tmp_path / name).write_bytes(content)
        check_json_target(str(tmp_path / name))


def test_a_link_is_judged_by_the_file_that_it_leads_to(tmp_path: Path) -> None:
    photo, results = tmp_path / "a.jpg", tmp_path / "found.jsonl"
    photo.write_bytes(b"\xff\xd8\xff")
    results.write_text("no JSON yet")
    link = tmp_path / "link.jsonl"
    link.symlink_to(photo)
    with pytest.raises(SettingsError, match="exists and is no JSON file"):
        check_json_target(str(link))
    other = tmp_path / "link"
    other.symlink_to(results)
    check_json_target(str(other))


def test_device_files_of_stdout_are_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert is_stdout("-") and is_stdout("/dev/stdout") and not is_stdout(None) and not is_stdout("stdout")
    write_json("/dev/stdout", {"a": 1})
    assert capsys.readouterr().out == '{"a": 1}\n'
    write_json(os.devnull, {"a": 1})
    assert not Path(os.devnull).is_file()
