"""Standard streams of commands: closed ones, encodings, undecodable names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

CODE = """
import os, sys
from data.command_line import run
from data.json_output import check_json_target

def body():
    with open(sys.argv[1], "w") as file:
        assert file.fileno() > 2
        os.write(1, b"a library prints")
        print("a line")
        print(os.fsdecode(os.fsencode(sys.argv[2])))
        if len(sys.argv) > 3:
            check_json_target(sys.argv[3])
    return 0

sys.exit(run(body))
"""


def command(tmp_path: Path, redirection: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    arguments = [sys.executable, "-c", CODE, str(tmp_path / "file"), *words]
    shell = ["sh", "-c", f'"$@" {redirection}', "sh", *arguments]
    return subprocess.run(shell, cwd=ROOT, capture_output=True, env=os.environ | environment, check=False)


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error_and_no_file_gets_their_number(redirection: str, tmp_path: Path) -> None:
    done = command(tmp_path, redirection, "name")
    assert done.returncode == 0 and done.stderr == b""
    assert (tmp_path / "file").read_bytes() == b""


def test_json_to_a_closed_stdout_is_one_line(tmp_path: Path) -> None:
    done = command(tmp_path, ">&-", "name", "-")
    assert done.returncode == 2 and done.stderr == b"error: --json -: stdout is closed; name a file\n"


@pytest.mark.parametrize(
    ("encoding", "name", "printed"),
    [
        ("ascii", "käse".encode(), b"k\\xe4se\n"),
        ("latin-1", "日本".encode(), b"\\u65e5\\u672c\n"),
        ("utf-8", b"\xffname", b"\\udcffname\n"),
        ("utf-8", "käse".encode(), "käse\n".encode()),
    ],
)
def test_a_name_that_stdout_cannot_encode_is_escaped(
    encoding: str, name: bytes, printed: bytes, tmp_path: Path
) -> None:
    done = command(tmp_path, "", os.fsdecode(name), PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    assert done.returncode == 0 and done.stderr == b"" and done.stdout.endswith(printed)
