"""Fonts for text in any script: search among the installed ones, and rendering with one that has the characters.

OpenCV draws ASCII only. DejaVu Sans comes with matplotlib and with most Linux systems, and has Latin, Greek, Cyrillic,
Armenian, Georgian, Hebrew and Arabic. Chinese, Japanese, Korean, Thai and the scripts of India need a font of the
system, which macOS, Windows and desktop Linux have; on Debian `apt install fonts-noto-cjk fonts-noto-core`.
"""

import importlib.util
import os
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SUFFIXES = frozenset({".ttf", ".otf", ".ttc", ".otc"})
#: Beginnings of the names of fonts that are tried first: those with many scripts, of upright sans-serif letters.
PREFERRED = (
    "dejavusans.", "notosans-regular", "notosanscjk-regular", "notosans", "arialuni", "arial unicode", "pingfang",
    "hiragino", "applesdgothic", "msyh", "meiryo", "malgun", "nirmala", "leelawui", "segoeui", "wqy",
    "droidsansfallback",
)  # fmt: skip
OTHER_FACES = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "lastresort")
PROBE = 24  # size in pixels at which glyphs are compared


def find_font(text: str) -> Path | None:
    """Return the installed font that has most characters of a text; None where none has any but the ASCII ones."""
    return _find_font(frozenset(character for character in text if _has_ink(character)))


def load_font(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font for a text at a size in pixels: Pillow's own for ASCII, or where no installed one has more."""
    path = None if text.isascii() else find_font(text)
    return _default_font(size) if path is None else _open_font(path, size)


def render_text(text: str, size: int) -> np.ndarray:
    """Render one line of text at a size in pixels; (H, W) uint8, 255 is ink, cropped to the ink."""
    return _render_text(text, size).copy()


@lru_cache(maxsize=512)
def _render_text(text: str, size: int) -> np.ndarray:
    font = load_font(text, size)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    image = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    return np.asarray(image)


@lru_cache(maxsize=256)
def _find_font(characters: frozenset[str]) -> Path | None:
    wanted = {character for character in characters if not character.isascii()}
    best, most = None, 0
    for path in installed_fonts():
        count = len(wanted & _covered(path, characters))
        if count > most:
            best, most = path, count
        if most == len(wanted):
            break
    return best


@lru_cache(maxsize=1)
def installed_fonts() -> tuple[Path, ...]:
    """Return the font files of the system and of matplotlib, those of `PREFERRED` first."""
    found = [
        Path(folder, name)
        for place in _folders()
        for folder, _, names in os.walk(place)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    ]
    return tuple(sorted(found, key=_rank))


def _folders() -> list[Path]:
    home = Path.home()
    places = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".fonts", home / ".local/share/fonts"]
    if sys.platform == "darwin":
        places = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    elif sys.platform == "win32":
        places = [Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts")]
        places += [Path(os.environ.get("LOCALAPPDATA", home), r"Microsoft\Windows\Fonts")]
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin is not None:
        places.append(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf")
    return places


def _rank(path: Path) -> tuple[int, bool, str]:
    name = path.name.lower()
    preferred = next((rank for rank, start in enumerate(PREFERRED) if name.startswith(start)), len(PREFERRED))
    return preferred, any(face in name for face in OTHER_FACES), name


@lru_cache(maxsize=32)
def _default_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=32)
def _open_font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _covered(path: Path, characters: frozenset[str]) -> set[str]:
    """Return the characters that a font has: those it does not draw as a character that no font has."""
    try:
        font = _open_font(path, PROBE)
        missing = [_glyph(font, character) for character in ("\uffff", "\U0010ffff")]
        return {character for character in characters if _glyph(font, character) not in missing}
    except (OSError, ValueError):  # a damaged font, or one of bitmaps in other sizes
        return set()


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def _has_ink(character: str) -> bool:
    """Whether a character is drawn by itself: no space, control character or combining mark."""
    return unicodedata.category(character)[0] not in "ZCM"
