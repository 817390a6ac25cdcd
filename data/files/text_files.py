"""Text of dataset files in the encodings that annotation tools write: UTF-8, UTF-16, Latin-1."""

import codecs
from pathlib import Path


def decode_text(content: bytes) -> str:
    """Decode a file's bytes: by its byte order mark, else as UTF-16 where every second byte is zero, as UTF-8, or as
    Windows' Latin-1, which decodes any bytes.
    """
    if content.startswith(codecs.BOM_UTF8):
        return content.decode("utf-8-sig", errors="replace")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    head = content[:64]
    if b"\0" in head:
        return content.decode("utf-16-be" if head[:1] == b"\0" else "utf-16-le", errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def read_text(file: Path) -> str:
    """Read a text file in any of these encodings; OSError where it cannot be read."""
    return decode_text(file.read_bytes())
