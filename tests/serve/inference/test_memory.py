"""Memory budget: order, limit and room given back; the C library's thresholds."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serve.inference.memory import MemoryBudget
from tests.support.paths import ROOT


def test_work_over_the_limit_waits_its_turn() -> None:
    order: list[str] = []
    gates = {name: threading.Event() for name in "abcd"}
    started = {name: threading.Event() for name in "abcd"}

    def work(name: str) -> None:
        order.append(name)
        started[name].set()
        assert gates[name].wait(10)

    with ThreadPoolExecutor(4) as pool:
        budget = MemoryBudget(10, pool)
        first = pool.submit(budget.run, 6, lambda: work("a"))
        assert started["a"].wait(10)
        budget.run(5, lambda: work("b"))  # does not fit: returns at once
        budget.run(1, lambda: work("c"))  # fits, but does not overtake
        assert order == ["a"] and budget.used == 6
        gates["a"].set()
        first.result(10)
        assert started["b"].wait(10) and started["c"].wait(10)
        assert order[0] == "a" and budget.used == 6
        budget.run(99, lambda: work("d"))  # more than the limit: alone
        gates["b"].set()
        gates["c"].set()
        assert started["d"].wait(10)
        assert budget.used == 99
        gates["d"].set()
    assert budget.used == 0


def test_room_is_given_back_after_an_error() -> None:
    with ThreadPoolExecutor(1) as pool:
        budget = MemoryBudget(10, pool)
        with pytest.raises(ZeroDivisionError):
            budget.run(10, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert budget.used == 0


def test_work_that_waits_at_the_end_is_dropped() -> None:
    pool = ThreadPoolExecutor(1)
    budget = MemoryBudget(10, pool)
    ran: list[int] = []

    def work() -> None:
        budget.run(10, lambda: ran.append(1))
        pool.shutdown(wait=False)

    budget.run(10, work)
    assert ran == [] and budget.used == 10  # counted for the work that no thread will run


HEAP = """
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from serve.inference.memory import return_free_memory, set_malloc_thresholds
def resident():
    return int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
def fill(_):
    small = [bytes(100_000) for _ in range(1000)]  # 100 MB in the heap of a thread, the last of it in use
    return small[-1]
set_malloc_thresholds()
with ThreadPoolExecutor(1) as pool:
    before = resident()
    kept = list(pool.map(fill, range(2)))
    full = resident()
    return_free_memory()
    print(full - before, resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_memory_below_used_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HEAP], cwd=ROOT, check=True, capture_output=True, text=True)
    full, after = map(int, done.stdout.split())
    assert full > 60 and after < 20
