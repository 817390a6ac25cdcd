"""`python -m detection.commands.overfit`: exit codes and errors."""

from pathlib import Path

import pytest

from detection.commands.overfit import main


def test_the_command_fails_where_nothing_was_learnt(voc_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(voc_root), "--steps", "1", "--input-size", "64"]) == 1
    assert "expected: over 90" in capsys.readouterr().out


def test_the_command_tells_a_missing_root_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
