"""Rules of a page's files: nothing from other servers, no inline code."""

import re
from collections.abc import Sequence
from pathlib import Path


def assert_self_contained(folder: Path, known: Sequence[str] = ()) -> None:
    """Check the files of a page, of which `index.html` is one; `known` texts in them are no addresses."""
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        for words in known:
            text = text.replace(words, "")
        assert not re.search(r"(https?:)?//[\w-]+\.\w", text), path.name
        assert not re.search(r"\b(eval|innerHTML|insertAdjacentHTML|document\.write)\b", text), path.name
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
