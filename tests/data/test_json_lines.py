"""JSON Lines: complete lines on every target, also after ctrl-C and on a full disk."""

import errno
import os
import threading
from pathlib import Path

import pytest

from data.errors import SettingsError
from data.json_lines import json_lines


def test_no_target_writes_nothing() -> None:
    with json_lines(None) as write:
        assert write is None


def test_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with json_lines("-") as write:
        assert write is not None
        write('{"a": 1}')
    assert capsys.readouterr().out == '{"a": 1}\n'


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.jsonl"
    with json_lines(str(target)) as write:
        assert write is not None
        write("1")
        assert not target.exists()
        write("2")
    assert target.read_text() == "1\n2\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_ctrl_c_and_a_full_disk_keep_the_lines(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(type(error)), json_lines(str(target)) as write:
        assert write is not None
        write("1")
        raise error
    assert target.read_text() == "1\n"


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EIO, "x")])
def test_any_other_error_leaves_the_target_as_it_was(error: Exception, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("before\n")
    with pytest.raises(type(error)), json_lines(str(target)) as write:
        assert write is not None
        write("1")
        raise error
    assert target.read_text() == "before\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder; name a file, or - for stdout"), json_lines(str(tmp_path)):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with json_lines(str(pipe)) as write:
        assert write is not None
        write("1")
    reader.join()
    assert read == ["1\n"]
    assert not pipe.is_file()
