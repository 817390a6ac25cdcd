"""Termination signals raise in the block, and leave handlers as they were."""

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data.termination_signals import Terminated, termination_raises
from tests.support.interruptible import allow_sigint
from tests.support.paths import ROOT


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_a_keyboard_interrupt_with_its_exit_code(number: signal.Signals, code: int) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt) as caught, termination_raises():
            os.kill(os.getpid(), number)
        assert isinstance(caught.value, Terminated) and caught.value.exit_code == code
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_an_ignored_signal_stays_ignored() -> None:
    """`nohup` ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with termination_raises():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_than_the_main_one_changes_nothing() -> None:
    handlers: list[object] = []

    def body() -> None:
        with termination_raises():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_a_closed_terminal_ends_with_files_finished_and_no_error_of_the_streams(tmp_path: Path) -> None:
    """A real terminal that goes away: the output of the command fails, and its work is finished all the same."""
    code = """
import sys, time
from pathlib import Path
from data.termination_signals import Terminated, termination_raises
try:
    with termination_raises():
        print("ready", flush=True)
        for _ in range(600):
            time.sleep(0.1)  # a signal that comes just before a sleep does not end it
except Terminated as error:
    print("the end", flush=True)
    Path(sys.argv[1]).write_text("finished")
    sys.exit(error.exit_code)
"""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", code, str(tmp_path / "file")]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=allow_sigint
    ) as process:
        os.close(theirs)
        said = b""
        while b"\n" not in said:  # to the end of the line: the rest would fail on the closed terminal
            said += os.read(ours, 100)
        assert b"ready" in said
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 129
    assert (tmp_path / "file").read_text() == "finished"
