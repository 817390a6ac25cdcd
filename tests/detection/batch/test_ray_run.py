"""Runs on Ray: each image exactly once, also after a worker or the whole command was killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from data.errors import SettingsError
from detection.batch.batch_inputs import find_entries
from detection.batch.output_folder import OutputFolder
from detection.batch.part_detector import DONE
from detection.batch.ray_run import BatchError, PoolOptions, _check_resources, ray_session, run_parts
from detection.batch.work_plan import PlannedPart, WorkPlan
from tests.support.paths import ROOT, SAMPLES

# Importing it takes seconds, for which every process of the tests would wait.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not here; it is in the extra ray")
pq = pytest.importorskip("pyarrow.parquet")
POOL = PoolOptions(workers=1)
IMAGES = 96


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """Ray, started once for all tests of this module."""
    with ray_session(POOL, 2):
        yield


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """Folder of many names of two images, and of one that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (tmp_path / "none.jpg").write_text("no image")
    for number in range(IMAGES):
        target = (SAMPLES / "chelsea.jpg", SAMPLES / "astronaut.jpg", tmp_path / "none.jpg")[number % 3]
        (folder / f"{number:03}.jpg").symlink_to(target)
    return folder


def missing(output: OutputFolder) -> list[PlannedPart]:
    written = output.names()
    return [part for part in WorkPlan(output).parts() if part.file_name(".parquet") not in written]


def assert_each_once(output: OutputFolder, folder: Path) -> None:
    table = pq.read_table(output.place)
    assert Counter(table["source"].to_pylist()) == Counter(str(path) for path in folder.iterdir())
    assert table["error"].null_count == IMAGES * 2 // 3
    assert not [name for name in output.names("_pelee") if name.endswith((".tmp", ".attempt"))]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(session, tmp_path: Path, links: Path, new_job) -> None:
    job = new_job(tmp_path / "out", cores=2)
    output = OutputFolder(job.output)
    output.create()
    WorkPlan(output).append(find_entries([str(links)], job.output, None, pytest.fail), 16, 1)
    parts = missing(output)
    assert len(parts) == 6
    workers = []
    with output.lock():
        for report in run_parts(job, parts, POOL):
            assert report["outcome"] == DONE, report
            workers.append(report["pid"])
            if len(workers) == 1:
                os.kill(report["pid"], signal.SIGKILL)
    assert len(workers) == 6 and len(set(workers)) == 2
    assert not missing(output)
    assert_each_once(output, links)


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on_where_it_was(session, tmp_path: Path, links: Path, new_job) -> None:
    """The command has a Ray of its own, which ends with it."""
    output = OutputFolder(str(tmp_path / "out"))
    arguments = [str(links), "--output", output.place, "--images-per-part", "16", "--workers", "1", "--cores", "2"]
    code = "import sys; from detection.commands.batch import main; sys.exit(main(sys.argv[1:]))"
    with (tmp_path / "log").open("w") as log:
        command = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=log, stderr=log)
    end = time.monotonic() + 240
    while not list(Path(output.place).glob("part-*")):
        assert command.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
        time.sleep(0.02)
    command.kill()
    command.wait()
    for folder in Path(tempfile.gettempdir()).glob(f"pelee-ray-*/session_*_{command.pid}"):
        shutil.rmtree(folder.parent, ignore_errors=True)
    before = output.names()
    with output.lock():  # the lock of the killed command is gone
        job = new_job(output.place, cores=2)
        reports = list(run_parts(job, missing(output), POOL))
    assert all(report["outcome"] == DONE for report in reports)
    assert before <= output.names()
    assert_each_once(output, links)
    assert (tmp_path / "log").read_text() == ""  # neither Ray's messages nor others


def test_a_cluster_that_is_too_small_is_an_error() -> None:
    _check_resources({"CPU": 4.0, "GPU": 1.0}, PoolOptions(workers=2, gpu_share=0.5), 2)
    with pytest.raises(SettingsError, match="3 workers need 6 CPUs, and there are 4"):
        _check_resources({"CPU": 4.0}, PoolOptions(workers=3), 2)
    with pytest.raises(SettingsError, match="need 1 GPUs, and there are 0"):
        _check_resources({"CPU": 4.0}, PoolOptions(workers=2, gpu_share=0.5), 2)


@pytest.mark.slow
def test_a_cluster_that_refuses_names_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own error does not tell a missing token from a cluster that is away."""

    def refuse(**options: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pool = PoolOptions(workers=1, address=f"127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(BatchError, match=r"Failed to connect .*; .* RAY_AUTH_MODE=token "), ray_session(pool, 1):
            pass


@pytest.mark.slow
def test_no_cluster_at_an_address_is_one_line() -> None:
    pool = PoolOptions(workers=1, address="127.0.0.1:1")
    with pytest.raises(BatchError, match=r"no Ray cluster at 127\.0\.0\.1:1: .*refused"), ray_session(pool, 1):
        pass
