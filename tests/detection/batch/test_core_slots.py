"""Cores of workers: two processes have cores of their own, and a killed one frees them."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from data.cpu_cores import usable_cores
from tests.support.paths import ROOT

CODE = "from detection.batch.core_slots import claim_cores as c; print(sorted(c({})), flush=True); input()"


def start(count: int, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE.format(count)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env={"TMPDIR": str(folder)}, stdin=pipe, stdout=pipe, text=True)


@pytest.mark.slow
@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
def test_processes_have_cores_of_their_own_until_they_end() -> None:
    with tempfile.TemporaryDirectory() as name:
        first, second = (start(1, Path(name)) for _ in range(2))
        lines = []
        for process in (first, second):
            assert process.stdout is not None
            lines.append(process.stdout.readline())
        assert len({*lines}) == 2 and all(len(line.strip("[]\n").split(",")) == 1 for line in lines)
        first.kill()
        first.communicate()
        third = start(1, Path(name))
        assert third.stdout is not None and third.stdout.readline() == lines[0]
        for process in (second, third):
            process.kill()
            process.communicate()


def test_a_worker_of_all_cores_keeps_them() -> None:
    with tempfile.TemporaryDirectory() as name:
        out, _ = start(usable_cores(), Path(name)).communicate("\n")
        assert len(out.strip("[]\n").split(",")) == usable_cores() and not list(Path(name).iterdir())
