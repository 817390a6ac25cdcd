"""Signatures of image files: the first bytes by which a format is recognized, whatever its name, and the last ones."""

import os
from typing import BinaryIO

from data.images.jpeg import END, START

HEAD = 4096  # bytes that tell all there is to tell; a signature needs 16
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # ISO/IEC 23008-12


def is_image(head: bytes) -> bool:
    """Whether a file's first `HEAD` bytes are those of an image: JPEG, PNG, GIF, BMP, TIFF, WebP, PNM, AVIF or HEIC."""
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in _BRANDS
    return head.startswith(_STARTS) or (head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace())


def may_be_animated(head: bytes) -> bool:
    """Whether an image may hold several frames: False for most still images, at the cost of their first bytes only."""
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head.partition(b"IDAT")[0]  # the chunk of an animation, before the pixels
    if head[:4] == b"RIFF":
        return head[12:16] == b"VP8X" and bool(head[20:21]) and bool(head[20] & 2)
    if head[4:8] == b"ftyp":
        return head[8:12] == b"avis"
    return head.startswith((b"GIF8", b"II", b"MM"))


def is_heic(head: bytes) -> bool:
    """Whether a file's first `HEAD` bytes are those of a HEIC image, the format of phones, which is not supported."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS and head[8:10] != b"av"


def may_be_cut_off(file: BinaryIO) -> bool:
    """Whether a seekable image file may lack its end: False where the end is that of its format (JPEG, PNG, GIF, WebP,
    BMP), at the cost of two short reads; else True, also for bytes behind the image: decoding tells.
    """
    file.seek(0)
    head = file.read(12)
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 12))
    tail = file.read()
    if head.startswith(START):
        return not tail.endswith(END)
    if head.startswith(b"\x89PNG"):
        return tail[4:8] != b"IEND"
    if head.startswith(b"GIF8"):
        return not tail.endswith(b";")
    if head.startswith(b"RIFF"):
        return 8 + int.from_bytes(head[4:8], "little") > length
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") > length
    return True
