"""XML files: encodings and refused parts. Damaged ones are tested with the VOC reader."""

from pathlib import Path

import pytest

from data.errors import DatasetError
from data.files.xml_files import parse_xml


@pytest.mark.parametrize(
    "content",
    [
        '<?xml version="1.0" encoding="utf-16"?><a>ü</a>'.encode("utf-16"),
        '<?xml version="1.0" encoding="iso-8859-1"?><a>ü</a>'.encode("latin-1"),
        '<?xml version="1.0" encoding="utf-8"?><a>ü</a>'.encode("latin-1"),
        "<a>ü</a>".encode("cp1252"),
    ],
)
def test_encodings(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    assert parse_xml(tmp_path / "a.xml").text == "ü"


def test_an_entity_in_utf_16_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'.encode("utf-16"))
    with pytest.raises(DatasetError, match="document type"):
        parse_xml(tmp_path / "a.xml")
