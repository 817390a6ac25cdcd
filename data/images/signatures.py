"""Signatures of image files: the first bytes by which a format is recognized, whatever the file's name."""

HEAD = 16  # bytes that a signature needs
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # ISO/IEC 23008-12


def is_image(head: bytes) -> bool:
    """Whether a file's first `HEAD` bytes are those of an image: JPEG, PNG, GIF, BMP, TIFF, WebP, PNM, AVIF or HEIC."""
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in _BRANDS
    return head.startswith(_STARTS) or (head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace())


def is_jpeg(head: bytes) -> bool:
    """Whether a file's first bytes are those of a JPEG."""
    return head.startswith(b"\xff\xd8\xff")


def is_heic(head: bytes) -> bool:
    """Whether a file's first `HEAD` bytes are those of a HEIC image, the format of phones, which is not supported."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS and head[8:10] != b"av"
