"""Reads and writes image files; `read_image` is the only decoder of images in the project."""

import errno
import glob
import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.atomic_files import atomic_path, is_special_file
from data.errors import ImageError
from data.images.deep_tiff import decode_deep, read_deep_header
from data.images.folder_walk import NO_FILE, walk_files
from data.images.image_slice import ImageSlice
from data.images.jpeg import END
from data.images.rgb_conversion import to_rgb
from data.images.signatures import HEAD, is_heic

#: Pillow's decoders that are used (JPEG's also reads MPO); the others (PSD, EPS, ...) are never tried on user data.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")
#: Suffixes of the files that `find_images` returns from a folder, compared in lower case.
# fmt: off
IMAGE_SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif",
        ".ppm", ".pgm", ".pbm",
    }
)
# fmt: on
#: The largest image that is read, width × height: Pillow's own limit (256 MiB as RGB), about 9459 × 9459.
MAX_PIXELS = 89_478_485
#: Share of the rows of a JPEG that may be missing.
MOST_MISSING = 0.9
_ORIENTATION_TAG = 0x0112
#: Errors that Pillow's decoders raise on damaged data. Caught around decoder calls only, so that no bug here is hidden.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def read_image(
    source: Path | str | bytes | ImageSlice,
    max_pixels: int = MAX_PIXELS,
    on_damage: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Read an image, upright (EXIF orientation applied), the first frame where there are several.

    Args:
        source: a path, the bytes of a file, or an image in a shard.
        max_pixels: an image with more pixels is rejected by its header, before it is decoded.
        on_damage: called with a warning for a JPEG that is cut off, whose missing rows are gray (some cameras leave out
            the last bytes). None is strict: such an image is an error.

    Returns:
        (height, width, 3) uint8 RGB, C-contiguous and writable. Transparency is composited onto white. Images of more
        than 8 bits are scaled by the range of their values (see `value_range`). Decoding needs up to 7 bytes a pixel
        and 16 MB (see `rgb_conversion`); more in the decoders of WebP and progressive JPEG, and for the TIFFs of
        `deep_tiff`.

    Raises:
        ImageError: an image that cannot be read; the message names the file and the reason.
    """
    name = _name(source)
    with _opened(source, name) as file:
        try:
            deep = read_deep_header(file)
            if deep is not None:
                _check_pixels(deep.size, max_pixels)
                return to_rgb(decode_deep(file, deep), deep.orientation)
            image = _open(file, max_pixels)
            try:
                image.load()
            except OSError:
                if on_damage is None or image.format != "JPEG":
                    raise
                image = _open_cut_off(file, max_pixels)
                share = _missing_rows(image)
                missing = "less than 1%" if share < 0.005 else f"{share:.0%}"
                on_damage(f"{name}: the JPEG is cut off; {missing} of its rows are missing")
            return to_rgb(image, _orientation(image))
        except UnidentifiedImageError:
            raise ImageError(f"{name}: not an image; {_expected(file)}") from None
        except _DECODER_ERRORS as error:
            raise ImageError(f"{name}: cannot be read as an image: {_reason(error)}") from error


def read_size(source: Path | str | bytes | ImageSlice) -> tuple[int, int]:
    """Return (width, height) of the image that `read_image` would return, from its header alone.

    Raises:
        ImageError: as `read_image`.
    """
    name = _name(source)
    with _opened(source, name) as file:
        try:
            deep = read_deep_header(file)
            if deep is not None:
                _check_pixels(deep.size, MAX_PIXELS)
                return deep.size[::-1] if deep.orientation >= 5 else deep.size
            image = _open(file, MAX_PIXELS)
            width, height = image.size
            # Pillow's TIFF reader gives the size of the upright image; the others that of the stored one.
            turned = image.format != "TIFF" and _orientation(image) >= 5
            return (height, width) if turned else (width, height)
        except UnidentifiedImageError:
            raise ImageError(f"{name}: not an image; {_expected(file)}") from None
        except _DECODER_ERRORS as error:
            raise ImageError(f"{name}: cannot be read as an image: {_reason(error)}") from error


def write_image(path: Path | str, rgb: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB to `path` atomically; the suffix gives the format (JPEG at quality 92).

    Raises:
        ImageError: as `check_image_target`.
    """
    path = Path(path)
    check_image_target(path)
    image = Image.fromarray(np.ascontiguousarray(rgb))
    with atomic_path(path) as temporary:
        if path.suffix.lower() in {".jpg", ".jpeg"}:
            image.save(temporary, format="JPEG", quality=92)
        else:
            image.save(temporary)


def check_image_target(path: Path) -> None:
    """Raise ImageError for a folder, or a suffix of no format that can be written; call it before the work begins."""
    if path.is_dir():
        raise ImageError(f"{path} is a folder; expected the name of an image to write")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ImageError(f"{path}: cannot write an image with the suffix {path.suffix!r}; use .jpg or .png")


def find_images(inputs: Iterable[str | Path], on_error: Callable[[ImageError], None] | None = None) -> list[Path]:
    """Find the images of files, folders (with their subfolders) and glob patterns; sorted, each once.

    A path of a file is kept whatever its suffix; folders and patterns yield files with a suffix of
    `IMAGE_SUFFIXES`. Hidden files and folders are skipped.

    Args:
        inputs: paths and patterns.
        on_error: called with an error for a subfolder that cannot be read, a pipe or a device in a folder or pattern;
            None to raise it.

    Raises:
        ImageError: an input that does not exist, or inputs without any image.
    """
    items = [str(item) for item in inputs]
    found: dict[str, Path] = {}
    for item in items:
        for path in _matches(item, on_error or _fail):
            found.setdefault(os.path.normpath(path.absolute()), path)
    if items and not found:
        raise ImageError(f"{', '.join(items)}: no images; looked for {' '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(found.values())


def _matches(item: str, on_error: Callable[[ImageError], None]) -> Iterator[Path]:
    path = Path(item)
    if path.is_dir():
        yield from walk_files(path, IMAGE_SUFFIXES, on_error)
    elif path.exists():
        yield path
    else:
        # Not Path.glob: it rejects absolute patterns and does not skip hidden names.
        matches = glob.glob(item, recursive=True) if glob.has_magic(item) else []  # noqa: PTH207
        if not matches:
            raise ImageError(f"{item}: no such file or folder")
        for match in map(Path, matches):
            if match.is_dir():
                yield from walk_files(match, IMAGE_SUFFIXES, on_error)
            elif match.suffix.lower() in IMAGE_SUFFIXES:
                if is_special_file(match):
                    on_error(ImageError(f"{match}: {NO_FILE}"))
                else:
                    yield match


def _fail(error: ImageError) -> None:
    raise error


def _name(source: Path | str | bytes | ImageSlice) -> str:
    return f"image of {len(source)} bytes" if isinstance(source, bytes) else str(source)


def _opened(source: Path | str | bytes | ImageSlice, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, ImageSlice):
        return io.BytesIO(source.read_bytes())
    try:
        return Path(source).open("rb")
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):  # too many open files: no fault of the image
            raise
        raise ImageError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:  # a null byte in the path
        raise ImageError(f"{name!r}: {error}") from error


def _open(file: BinaryIO, max_pixels: int) -> Image.Image:
    """Open an image, reading its header only; ValueError where it has more than `max_pixels`."""
    image: Image.Image = Image.open(file, formats=FORMATS)
    _check_pixels(image.size, max_pixels)
    return image


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ValueError(f"{width} × {height} pixels are more than the limit of {max_pixels}")


def _open_cut_off(file: BinaryIO, max_pixels: int) -> Image.Image:
    """Decode a JPEG whose end is missing: its decoder fills the rows without data with gray."""
    file.seek(0)
    image = _open(io.BytesIO(file.read() + END), max_pixels)
    image.load()
    return image


def _missing_rows(image: Image.Image) -> float:
    """Return the share of the lowest rows that are all of one color; an estimate of what the decoder filled."""
    pixels = np.asarray(image)
    filled = 0
    while filled < len(pixels) and (pixels[-1 - filled] == pixels[-1, -1]).all():
        filled += 1
    missing = filled / len(pixels)
    if missing > MOST_MISSING:
        raise ValueError("the JPEG is cut off near its begin")
    return missing


def _expected(file: BinaryIO) -> str:
    file.seek(0)
    if is_heic(file.read(HEAD)):
        return "HEIC is not supported, convert it to JPEG"
    return f"expected one of {', '.join(FORMATS)}"


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none."""
    try:
        value: Any = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:  # damaged EXIF with intact pixels: no orientation is applied
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
