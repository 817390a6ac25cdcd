"""JSON reports on stdout and in files."""

import json
from pathlib import Path

import pytest

from data.errors import SettingsError
from data.json_output import check_json_target, write_json


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
