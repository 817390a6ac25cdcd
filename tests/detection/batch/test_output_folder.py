"""Output folder: files are whole or absent, also on a full disk; one run at a time; attempts are counted."""

import errno
from pathlib import Path

import pytest

from data.errors import SettingsError
from detection.batch.output_folder import OWN, OutputFolder

pytest.importorskip("pyarrow")


def test_a_file_is_replaced_whole(output: OutputFolder) -> None:
    output.write("part", b"1")
    output.write("part", b"22")
    assert output.read("part") == b"22" and output.read("absent") is None
    assert output.names() == {"part", OWN} and not output.names(OWN)


def test_a_full_disk_leaves_what_was_written_and_no_part(small_disk: Path) -> None:
    output = OutputFolder(str(small_disk / "out"))
    output.create()
    output.write("first", b"1" * 400_000)
    with pytest.raises(OSError, match="second") as raised:
        output.write("second", b"2" * 800_000)
    assert raised.value.errno == errno.ENOSPC
    assert output.names() == {"first", OWN} and output.read("first") == b"1" * 400_000 and not output.names(OWN)


def test_a_second_run_is_refused_and_leftovers_are_removed(output: OutputFolder) -> None:
    (Path(output.place) / OWN / "0123.tmp").write_bytes(b"half a part")
    with output.lock():
        assert output.names(OWN) == {"lock"}
        with pytest.raises(SettingsError, match="another pelee-batch"), output.lock():
            pass
    with output.lock():
        pass


def test_attempts_are_counted_until_the_part_is_done_or_a_new_run_begins(output: OutputFolder) -> None:
    assert [output.begin("a"), output.begin("a"), output.begin("b")] == [1, 2, 1]
    output.end("a")
    assert output.begin("a") == 1
    with output.lock():
        assert output.begin("a") == 1


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="is a file"):
        OutputFolder(str(tmp_path / "file")).create()
