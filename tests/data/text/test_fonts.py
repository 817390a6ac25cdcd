"""Fonts: one that has the characters is found, and text is rendered with it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from data.text import fonts
from data.text.fonts import find_font, installed_fonts, load_font, render_text


@pytest.mark.parametrize("text", ["собака", "σκύλος", "κατοικίδιο 0.93", "chó", "ñandú", "כלב", "كلب"])
def test_a_font_with_the_characters_is_found(text: str) -> None:
    """DejaVu Sans comes with matplotlib, a dependency of the tests."""
    path = find_font(text)
    assert path is not None and path in installed_fonts()
    boxes = render_text("\uffff" * len(text), 32)
    ink = render_text(text, 32)
    assert ink.dtype == np.uint8 and ink.ndim == 2 and ink.max() > 200
    assert ink.shape != boxes.shape or not np.array_equal(ink, boxes)


def test_letters_differ() -> None:
    glyphs = {render_text(letter, 32).tobytes() for letter in "жшяю"}
    assert len(glyphs) == 4


def test_ascii_needs_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[Path, ...]:
        raise AssertionError("searched")

    monkeypatch.setattr(fonts, "installed_fonts", fail)
    assert render_text("dog 0.93", 24).max() > 200
    assert isinstance(load_font("dog", 24), ImageFont.FreeTypeFont)


def test_characters_of_no_font_are_drawn_as_boxes_and_are_no_error() -> None:
    private = "\U000f0000\U000f0001"  # for private use
    assert find_font(private) is None
    assert render_text(private, 24).size > 1 and render_text("", 24).size == 1


def test_the_font_with_most_characters_wins() -> None:
    assert find_font("собака\U000f0000") == find_font("собака")


def test_a_damaged_font_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = find_font("жук")
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    monkeypatch.setattr(fonts, "installed_fonts", lambda: (tmp_path / "bad.ttf", good))
    fonts._find_font.cache_clear()
    assert find_font("жучок") == good
    fonts._find_font.cache_clear()
