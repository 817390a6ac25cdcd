"""Progress bars: lines without a terminal, bars on one."""

import io
import sys

import pytest

from detection.pipeline.run_progress import ProgressBars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_only_problems_and_notes_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars(shown=True) as bars:
        bars.start("clip.mp4", 3)
        bars.advance()
        bars.problem("b.jpg: no such file")
        bars.note("saved a.jpg")
    out, err = capsys.readouterr()
    assert out == "" and err == "error: b.jpg: no such file\nsaved a.jpg\n"


def test_a_terminal_shows_every_source_with_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBars(shown=True) as bars:
        for name, total in (("[red]clip.mp4", 3), ("camera", None)):
            bars.start(name, total)
            for _ in range(3):
                bars.advance()
        bars.problem("[b] is no markup")
    text = terminal.getvalue()
    assert "[red]clip.mp4" in text and "3/3" in text and "3/?" in text and "error: [b] is no markup" in text


def test_bars_can_be_switched_off_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBars(shown=False) as bars:
        bars.start("clip.mp4", 3)
        bars.advance()
    assert terminal.getvalue() == ""
