"""Threads, forks, pickling, and the end of the interpreter, in child processes."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import Future
from threading import Thread

import numpy as np
import pytest

from pelee.runtime.process_session import ProcessSession
from pelee.runtime.session import RawOutputs
from tests.support.paths import ROOT

IMAGE = "from data.images.image_io import read_image; image = read_image('data/samples/chelsea.jpg')\n"


class CountingSession:
    """Its output is the number of the session that computed it."""

    name, input_size, parallel, batch = "counting", 8, 3, 2
    opened = 0

    def __init__(self) -> None:
        CountingSession.opened += 1
        self.number = CountingSession.opened
        self.threads: list[str] = []

    def __call__(self, images: np.ndarray) -> RawOutputs:
        self.threads.append("caller")
        return (np.full(len(images), self.number),)

    def submit(self, images: np.ndarray) -> Future[RawOutputs]:
        self.threads.append("submit")
        future: Future[RawOutputs] = Future()
        future.set_result((np.full(len(images), self.number),))
        return future


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code in a child process that has a minute; a hang fails by `TimeoutExpired`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *options, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def test_attributes_and_outputs_are_those_of_the_session() -> None:
    session = ProcessSession(CountingSession)
    assert (session.name, session.input_size, session.parallel, session.batch) == ("counting", 8, 3, 2)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    assert session(images)[0].tolist() == session.submit(images).result()[0].tolist()


def test_daemon_threads_do_not_run_native_code() -> None:
    inner = CountingSession()
    session = ProcessSession(lambda: inner)
    for daemon in (False, True):
        thread = Thread(target=session, args=(np.zeros((1, 8, 8, 3), np.uint8),), daemon=daemon)
        thread.start()
        thread.join(60)
    assert inner.threads == ["caller", "submit"]


def test_a_session_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="pickle the Detector or Classifier"):
        pickle.dumps(ProcessSession(CountingSession))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_opens_a_session_of_its_own() -> None:
    code = (
        "import os\n"
        "import numpy as np\n"
        "from tests.pelee.runtime.test_process_session import CountingSession\n"
        "from pelee.runtime.process_session import ProcessSession\n"
        "session = ProcessSession(CountingSession)\n"
        "images = np.zeros((1, 8, 8, 3), np.uint8)\n"
        "if child := os.fork():\n"
        "    os.waitpid(child, 0)\n"
        "print(session(images)[0], session(images)[0], flush=True)\n"
    )
    done = run(code)
    assert done.returncode == 0 and done.stdout == "[2] [2]\n[1] [1]\n", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_detector_after_a_fork() -> None:
    """Lists, single images, and the end of the child, which runs the destructors."""
    code = (
        "import os, sys\n"
        "from detection import Detector\n" + IMAGE + "detector = Detector.load()\n"
        "detector([image] * 3)\n"
        "if child := os.fork():\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "print(len(detector(image)), [len(found) for found in detector([image] * 3)], flush=True)\n"
    )
    for _ in range(3):
        done = run(code)
        assert done.returncode == 0 and done.stdout == 2 * "1 [1, 1, 1]\n", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_torch_after_a_fork_is_one_line() -> None:
    code = (
        "import os, sys\n"
        "from data.errors import SettingsError\n"
        "from detection import Detector\n" + IMAGE + "detector = Detector.load(runtime='torch', device='cpu')\n"
        "detector(image)\n"
        "if child := os.fork():\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "try:\n"
        "    detector(image)\n"
        "except SettingsError as error:\n"
        "    print(error)\n"
    )
    done = run(code)
    assert done.returncode == 0 and "start processes with the method 'spawn'" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_interpreter_ends_cleanly_after_a_list() -> None:
    """It aborted in 7 of 20 runs."""
    for _ in range(12):
        done = run(IMAGE + "from detection import Detector\nDetector.load()([image] * 16)\n")
        assert done.returncode == 0 and not done.stderr, (done.returncode, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_the_interpreter_ends_cleanly_under_daemon_threads(runtime: str) -> None:
    code = (
        "import threading\n"
        "from detection import Detector\n" + IMAGE + f"detector = Detector.load(runtime={runtime!r}, device='cpu')\n"
        "running = threading.Barrier(4)\n"
        "def work(count):\n"
        "    detector([image] * count)\n"
        "    running.wait()\n"
        "    while True: detector([image] * count)\n"
        "for count in (1, 3, 1): threading.Thread(target=work, args=(count,), daemon=True).start()\n"
        "running.wait()\n"
    )
    for _ in range(4):
        done = run(code)
        assert done.returncode == 0 and not done.stderr, (done.returncode, done.stderr)


@pytest.mark.slow
def test_one_detector_in_several_threads_from_its_first_call() -> None:
    """The first calls of OpenVINO's bindings deadlock if they come from two threads at once."""
    code = (
        "import threading\n"
        "from detection import Detector\n" + IMAGE + "detector = Detector.load()\n"
        "found = []\n"
        "work = lambda: found.extend(len(one) for _ in range(5) for one in detector([image] * 3))\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(found == 60 * [1])\n"
    )
    for _ in range(4):
        done = run(code)
        assert done.returncode == 0 and done.stdout == "True\n", done.stderr
