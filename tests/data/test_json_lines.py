"""JSON Lines: complete lines on every target, also after ctrl-C and on a full disk."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data.errors import SettingsError
from data.json_lines import json_lines
from tests.support.paths import ROOT


def test_no_target_writes_nothing() -> None:
    with json_lines(None) as write:
        assert write is None


def test_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with json_lines("-") as write:
        assert write is not None
        write('{"a": 1}')
    assert capsys.readouterr().out == '{"a": 1}\n'


def test_each_line_is_in_the_file_at_once(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.jsonl"
    with json_lines(str(target)) as write:
        assert write is not None
        write("1")
        assert target.read_text() == "1\n"
        write("2")
    assert target.read_text() == "1\n2\n"


def test_lines_survive_a_killed_process(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from data.json_lines import json_lines
with json_lines(sys.argv[1]) as write:
    write("1")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    target = tmp_path / "out.jsonl"
    target.write_text("earlier\n" * 3)
    subprocess.run([sys.executable, "-c", code, str(target)], cwd=ROOT, check=False)
    assert target.read_text() == "1\n"


def test_no_line_at_all_makes_an_empty_file(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("earlier\n")
    with json_lines(str(target)):
        pass
    assert target.read_text() == ""


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text("earlier\n")
    link = tmp_path / "latest.jsonl"
    link.symlink_to("run.jsonl")
    with json_lines(str(link)) as write:
        assert write is not None
        write("1")
    assert link.is_symlink() and (tmp_path / "run.jsonl").read_text() == "1\n"


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="has no /dev/stdout")
@pytest.mark.parametrize(("target", "descriptor"), [("/dev/stdout", 1), ("/dev/stderr", 2), ("/dev/fd/2", 2)])
def test_a_redirected_stream_is_appended_to(target: str, descriptor: int, tmp_path: Path) -> None:
    """As `>> file` in a shell: earlier content stays, and the device is not replaced."""
    code = "import sys\nfrom data.json_lines import json_lines\nwith json_lines(sys.argv[1]) as write:\n    write('1')"
    log = tmp_path / "log"
    log.write_text("earlier\n")
    with log.open("a") as file:
        stream = {1: "stdout", 2: "stderr"}[descriptor]
        subprocess.run([sys.executable, "-c", code, target], cwd=ROOT, check=True, **{stream: file})
    assert log.read_text() == "earlier\n1\n" and Path(target).is_symlink()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"), ValueError()])
def test_any_end_keeps_the_lines(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(type(error)), json_lines(str(target)) as write:
        assert write is not None
        write("1")
        raise error
    assert target.read_text() == "1\n"


def test_an_error_before_the_first_line_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    target, new = tmp_path / "out.jsonl", tmp_path / "new.jsonl"
    target.write_text("before\n")
    for path in (target, new):
        with pytest.raises(ValueError, match="x"), json_lines(str(path)):
            raise ValueError("x")
    assert target.read_text() == "before\n" and not new.exists()


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, write_bytes = tmp_path / "out.jsonl", os.write

    def fill(file: int, data: memoryview) -> int:
        if bytes(data[:2]) == b"22":
            return write_bytes(file, data[:2])
        if bytes(data) == b"\n":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(file, data)

    with pytest.raises(OSError, match="No space left") as caught, json_lines(str(target)) as write:
        assert write is not None
        write("1")
        monkeypatch.setattr(os, "write", fill)
        write("22")
    assert target.read_text() == "1\n" and caught.value.filename == str(target)


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
