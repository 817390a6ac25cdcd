"""XML of annotation files, without the parts of XML that can exhaust the memory."""

from pathlib import Path
from xml.etree import ElementTree

from data.errors import DatasetError
from data.files.text_files import decode_text


def parse_xml(file: Path) -> ElementTree.Element:
    """Parse an XML file in any of the encodings of `decode_text`, whatever encoding it declares.

    Raises:
        DatasetError: the reason, without the file's name: it cannot be read, is not XML, or has a document type.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DatasetError(error.strerror or str(error)) from error
    # Annotations need no DTD, and entity expansion can exhaust the memory. Zero bytes: UTF-16, which would hide both.
    if b"\0" in content:
        content = decode_text(content).encode()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise DatasetError("a document type or an entity; expected plain XML")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        try:  # the text counts: its encoding may not be the declared one
            return ElementTree.fromstring(decode_text(content))
        except (ElementTree.ParseError, ValueError, LookupError):
            raise DatasetError(f"not XML ({error})") from error
