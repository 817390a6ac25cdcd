"""Record of a run: it is read by the command that resumes the run, from another folder, too."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import DatasetError
from pelee.runs.run_record import RECORD, read_begun, record_run

RUN: dict[str, Any] = {"model": "m", "dataset": "d", "settings": {}, "started_from": None}


def test_the_command_that_began_a_run_is_read_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "my data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with record_run(tmp_path / "run", command="pelee-train --root 'my data' --epochs 3", **RUN):
        pass
    monkeypatch.chdir(tmp_path)
    begun = read_begun(tmp_path / "run", "pelee-train")
    assert begun is not None
    assert begun.arguments == ["--root", "my data", "--epochs", "3"]
    assert begun.locate(Path("my data")) == tmp_path / "here" / "my data"
    assert begun.locate(Path("pelee-voc")) == Path("pelee-voc")
    assert begun.locate(tmp_path) == tmp_path


def test_no_record_and_a_damaged_one(tmp_path: Path) -> None:
    assert read_begun(tmp_path, "pelee-train") is None
    file = tmp_path / RECORD
    for content in ("{", "[]", "{}"):
        file.write_text(content)
        with pytest.raises(DatasetError, match="is damaged"):
            read_begun(tmp_path, "pelee-train")
    file.write_text(json.dumps({"command": "pelee-train --epochs 3", "settings": {"epochs": 3}}))
    begun = read_begun(tmp_path, "pelee-train")
    assert begun is not None and begun.locate(Path("a")) == Path("a")
    with pytest.raises(DatasetError, match="is a run of pelee-train, not of pelee-train-classifier"):
        read_begun(tmp_path, "pelee-train-classifier")
