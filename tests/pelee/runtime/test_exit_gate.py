"""Exit gate: daemon threads wait after it was closed, others pass."""

import threading
from contextlib import suppress
from typing import NoReturn

import pytest

from pelee.runtime.exit_gate import ExitGate

TIMEOUT = 60.0  # seconds


def test_closing_waits_for_daemon_threads_inside_and_keeps_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, inside, leave = ExitGate(), threading.Event(), threading.Event()
    left: list[str] = []

    def call() -> None:
        with gate, gate:  # a call within a call
            inside.set()
            leave.wait(TIMEOUT)
            with gate:  # also where it was closed meanwhile
                left.append("inside")

    first = threading.Thread(target=call, daemon=True)
    first.start()
    assert inside.wait(TIMEOUT)
    assert not gate.close(patience=0)
    leave.set()
    assert gate.close(TIMEOUT)
    first.join(TIMEOUT)
    assert left == ["inside"] and not first.is_alive()
    held = threading.Event()

    def hold() -> NoReturn:
        held.set()
        raise SystemExit  # ends this thread; the gate's own waits for ever

    monkeypatch.setattr(gate, "hold", hold)

    def call_late() -> None:
        with suppress(SystemExit):
            call()

    late = threading.Thread(target=call_late, daemon=True)
    late.start()
    late.join(TIMEOUT)
    assert held.is_set() and left == ["inside"]


def test_threads_that_the_interpreter_joins_pass_a_closed_gate() -> None:
    gate, passed = ExitGate(), threading.Event()
    assert gate.close(patience=0)

    def call() -> None:
        with gate:
            passed.set()

    threading.Thread(target=call, daemon=False).start()
    assert passed.wait(TIMEOUT)


def test_a_thread_that_waits_for_the_end_has_left() -> None:
    gate, inside = ExitGate(), threading.Event()

    def call() -> None:
        with gate:
            inside.set()
            gate.hold()

    threading.Thread(target=call, daemon=True).start()
    assert inside.wait(TIMEOUT)
    assert gate.close(TIMEOUT)
