"""Encodings of dataset files."""

from pathlib import Path

import pytest

from data.files.text_files import decode_text, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_encoding_of_annotation_tools(tmp_path: Path, encoding: str) -> None:
    text = "Schlüssel\r\n0 0.5\n"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert read_text(tmp_path / "a.txt") == text


def test_any_bytes_are_text() -> None:
    assert decode_text(b"") == ""
    assert len(decode_text(bytes(range(1, 256)))) > 0
