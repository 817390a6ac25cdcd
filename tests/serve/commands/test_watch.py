"""pelee-watch: check, dry run, and a run that a signal ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serve.commands.watch import main
from tests.support.paths import ROOT

SETTINGS = """\
cameras:
  yard:
    source: data/samples/bikes.mp4
  door:
    source: cam0
rules:
  things:
    min_seconds: 0.5
    labels: [person, car, bicycle]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "watch.yaml"
    path.write_text(SETTINGS.replace("data/samples", str(ROOT / "data" / "samples")))
    return path


def test_settings_without_a_fault(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(settings)]) == 0
    assert capsys.readouterr() == (f"{settings}: no fault; cameras: 2, rules: 1\n", "")


def test_all_faults_are_listed_a_line_each(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = settings.read_text().replace("[person,", "[persn,").replace("0.5", "-1").replace("rules:", "mqt: {}\nrules:")
    settings.write_text(text)
    assert main(["--check", str(settings)]) == main([str(settings)]) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 6 and lines[:3] == lines[3:]
    assert sorted(line.partition(": ")[2].partition(": ")[2].partition(": ")[0] for line in lines[:3]) == [
        "mqt", "rules.things.labels[0]", "rules.things.min_seconds",
    ]  # fmt: skip
    assert all(line.startswith(f"error: {settings}, line ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run", "a.mp4"], "has 2 cameras; choose one with --camera"),
        (["--dry-run", "a.mp4", "--camera", "yrad"], "has no such camera; did you mean 'yard'?"),
        pytest.param(  # the tracker is imported
            ["--dry-run", "none.mp4", "--camera", "yard"], "none.mp4: no such video file", marks=pytest.mark.slow
        ),
    ],
)
def test_a_dry_run_of_the_wrong_things(
    settings: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([str(settings), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_flags_that_do_not_fit_together(settings: Path) -> None:
    for arguments in (["--check", "--dry-run", "a.mp4"], ["--camera", "yard"]):
        with pytest.raises(SystemExit) as stopped:
            main([str(settings), *arguments])
        assert stopped.value.code == 2


@pytest.mark.slow
def test_a_dry_run_prints_events(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(settings), "--dry-run", str(ROOT / "data/samples/bikes.mp4"), "--camera", "yard"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events and {event["kind"] for event in events} == {"appeared"}
    assert all(event["camera"] == "yard" and event["end"] >= event["start"] for event in events)


@pytest.mark.slow
def test_a_signal_ends_a_run_cleanly(settings: Path, tmp_path: Path) -> None:
    """Events that are open are finished; their clips are closed."""
    text = settings.read_text().replace("source: cam0", "source: rtsp://127.0.0.1:9/live")
    settings.write_text(f"{text}folder: {tmp_path / 'events'}\nserver:\n  enabled: no\n")
    command = [sys.executable, "-m", "serve.commands.watch", str(settings)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        deadline, seen = time.monotonic() + 60, []
        while '"event": "event"' not in (line := process.stderr.readline()):
            seen.append(line)
            assert line and time.monotonic() < deadline, seen
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
        assert process.returncode == 0, rest
        assert '"stopped"' in rest and "Traceback" not in rest
    finally:
        process.kill()
        process.wait()
    files = sorted(path.suffix for path in (tmp_path / "events" / "yard").rglob("*") if path.is_file())
    assert files.count(".jpg") == 2 * files.count(".mp4") >= 2
