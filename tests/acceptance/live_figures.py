"""How live `pelee-detect` is: the figures of issue 7, with the tcp camera and the test pattern.

Run it on a quiet machine: `.venv/bin/python -m tests.acceptance.live_figures [FIGURE ...] [--seconds N]`. It prints a
line of JSON a figure, with its limit, and ends with 1 where one is missed. FIGUREs: slow, restart, freeze, absent,
file, four, memory; all by default, in some 14 minutes. The first needs Linux, for the memory.
"""

import argparse
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.interruptible import allow_sigint
from tests.support.paths import ROOT
from tests.support.tcp_camera import TcpCamera

RATE = 30
COMMAND = [sys.executable, "-m", "detection.commands.detect"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
CLIP = ROOT / "data" / "samples" / "bikes.mp4"


class Running:
    """`pelee-detect` in another process, each of its lines with the time it came."""

    def __init__(self, *words: str) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            env=ENVIRONMENT,
            preexec_fn=allow_sigint,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        self.err: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()

    @staticmethod
    def _read(stream: Any, lines: "queue.SimpleQueue[tuple[float, str]]") -> None:
        for line in stream:
            lines.put((time.monotonic(), line))
        lines.put((time.monotonic(), ""))

    def stop(self) -> str:
        """End it by ctrl-C; return what is left of its stderr."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        said = ""
        while (line := self.err.get(timeout=10)[1]) != "":
            said += line
        return said

    def memory(self) -> float:
        """MB in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def running(*words: str) -> Iterator[Running]:
    """Run `pelee-detect`, and end it."""
    run = Running(*words)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()


def wait(
    lines: "queue.SimpleQueue[tuple[float, str]]", words: str = "", after: float = 0.0, seconds: float = 60
) -> float:
    """The time of the next line with these words that comes after a time."""
    deadline = time.monotonic() + seconds
    while True:
        moment, line = lines.get(timeout=max(0.1, deadline - time.monotonic()))
        if line == "":
            raise RuntimeError("pelee-detect ended")
        if moment > after and words in line:
            return moment


class SlowRuntime:
    """A runtime that takes at least so long for each image."""

    parallel = 1

    def __init__(self, runtime: Any, seconds: float) -> None:
        self._runtime, self._seconds = runtime, seconds
        self.name, self.input_size = f"{runtime.name}, slowed down", runtime.input_size
        self.times: list[float] = []

    def __call__(self, images: np.ndarray) -> Any:
        begin = time.monotonic()
        outputs = self._runtime(images)
        time.sleep(max(0.0, begin + self._seconds - time.monotonic()))
        self.times.append(time.monotonic() - begin)
        return outputs

    def submit(self, images: np.ndarray) -> "Future[Any]":
        result: Future[Any] = Future()
        threading.Thread(target=lambda: result.set_result(self(images))).start()
        return result


class Watching:
    """A `View` that notes the age of each new image, until it has watched long enough."""

    def __init__(self, camera: TcpCamera, seconds: float) -> None:
        self._camera, self._end = camera, time.monotonic() + seconds
        self._last: np.ndarray | None = None
        self.ages: list[float] = []
        self.memory: list[float] = []

    def show(self, image: np.ndarray, wait: bool) -> bool:
        if image is not self._last:
            self._last = image
            self.ages.append(self._camera.age(image))
            self.memory.append(
                int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            )
        return time.monotonic() < self._end

    def set_status(self, text: str) -> None:
        pass

    def keys(self) -> list[str]:
        return []


def slow(seconds: float) -> tuple[dict[str, Any], bool]:
    """A camera of 30 frames a second, and a network of 10."""
    from detection.benchmark.end_to_end import SilentProgress
    from detection.detector import Detector
    from detection.inference.options import DetectionOptions
    from detection.pipeline.file_pipeline import Pipeline
    from detection.pipeline.inputs import collect
    from detection.pipeline.run_config import RunConfig, RunState
    from detection.pipeline.view_sink import ViewSink

    detector = Detector.load()
    runtime = SlowRuntime(detector.runtime, 0.1)
    detector.runtime = runtime  # type: ignore[assignment]
    with TcpCamera(rate=RATE) as camera:
        view = Watching(camera, seconds)
        # Nothing scores above 1: no box is drawn over the camera's numbers.
        state, progress = RunState(DetectionOptions(confidence=1.0)), SilentProgress()
        sinks = [ViewSink(view, state, progress)]
        pipeline = Pipeline(RunConfig(detector, numbers=False), state, sinks, progress)
        pipeline.run(collect([], [camera.address], None)[0])
    ages = 1000 * np.array(view.ages[10:])  # from the first second on
    third = len(ages) // 3
    inference = 1000 * float(np.median(runtime.times))
    limit = 2 * 1000 / RATE + inference
    (figures,) = [summary.stream_stats for summary in state.summaries]
    found = {
        "seconds": seconds,
        "pictures": len(ages),
        "inference_ms": round(inference, 1),
        "age_p50_ms": round(float(np.percentile(ages, 50)), 1),
        "age_p99_ms": round(float(np.percentile(ages, 99)), 1),
        "limit_ms": round(limit, 1),
        "age_p50_first_third_ms": round(float(np.median(ages[:third])), 1),
        "age_p50_last_third_ms": round(float(np.median(ages[-third:])), 1),
        "its_own_age_p50_p99_ms": [round(figures.age(50), 1), round(figures.age(99), 1)] if figures else None,
        "memory_mb_third_end": [round(view.memory[third], 1), round(view.memory[-1], 1)],
    }
    grown = np.median(ages[-third:]) - np.median(ages[:third])
    return found, bool(np.percentile(ages, 99) <= limit and grown < 10 and view.memory[-1] < 1.05 * view.memory[third])


def restart(seconds: float) -> tuple[dict[str, Any], bool]:
    """Killed, and back five seconds later: seconds from its return to the next line of JSON."""
    resumed = []
    with TcpCamera(rate=RATE) as camera, running("--video", camera.address, "--json", "-") as run:
        wait(run.out)
        for away in (1.0, 5.0, 12.0):
            time.sleep(2)
            camera.kill()
            time.sleep(away)
            camera.start()
            back = time.monotonic()
            resumed.append(round(wait(run.out, after=back) - back, 2))
        run.stop()
    return {"away_s": [1, 5, 12], "resumed_after_s": resumed, "limit_s": 3, "exit": run.process.returncode}, max(
        resumed
    ) <= 3


def freeze(seconds: float) -> tuple[dict[str, Any], bool]:
    """SIGSTOP: seconds until that is said; and from SIGCONT to the next line of JSON."""
    with TcpCamera(rate=RATE) as camera, running("--video", camera.address, "--json", "-") as run:
        wait(run.out)
        time.sleep(3)
        camera.freeze()
        begin = time.monotonic()
        said = wait(run.err, "nothing came") - begin
        time.sleep(4)
        camera.thaw()
        back = time.monotonic()
        resumed = wait(run.out, after=back) - back
        run.stop()
    return {"said_after_s": round(said, 2), "limit_s": 5, "resumed_after_s": round(resumed, 2)}, said <= 5


def absent(seconds: float) -> tuple[dict[str, Any], bool]:
    """What is not there: seconds from the shell to exit code 3, and one line."""
    silent = socket.create_server(("127.0.0.1", 0))  # it lets one in, and says nothing
    places = {
        "absent camera": "cam97",
        "refused": "tcp://127.0.0.1:9",
        "silent": f"tcp://127.0.0.1:{silent.getsockname()[1]}",
        "no such host": "rtsp://user:secret@no-such-host.invalid/live",
        "no such path": "http://user:secret@127.0.0.1:9/live.m3u8",
    }
    found: dict[str, Any] = {}
    right = True
    with TcpCamera(rate=RATE, one=True) as camera:
        places["busy"] = camera.address
        with socket.create_connection(("127.0.0.1", int(camera.address.rpartition(":")[2]))) as other:
            other.recv(1)
            for name, address in places.items():
                begin = time.monotonic()
                done = subprocess.run(
                    [*COMMAND, "--video", address], env=ENVIRONMENT, capture_output=True, text=True, check=False
                )
                took = time.monotonic() - begin
                found[name] = {"seconds": round(took, 1), "exit": done.returncode, "said": done.stderr.strip()}
                right &= took < 10 and done.returncode == 3 and done.stderr.count("\n") == 1
                right &= "secret" not in done.stderr
    silent.close()
    return found, right


def file(seconds: float) -> tuple[dict[str, Any], bool]:
    """A file by the same command: every frame, in order, the boxes of image by image."""
    from detection.detector import Detector
    from detection.inference.result_formats import to_dict
    from detection.video.video_file import VideoFile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.jsonl"
        subprocess.run(
            [*COMMAND, "--video", str(CLIP), "--json", str(path)], env=ENVIRONMENT, check=True, capture_output=True
        )
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    detector = Detector.load()
    expected = []
    with VideoFile(str(CLIP)) as source:
        for frame in source:
            (one,) = detector.predict_batch([frame.image], detector.card.default_thresholds)
            size = (frame.image.shape[1], frame.image.shape[0])
            expected.append(to_dict(str(CLIP), frame.index, *size, one, detector.class_names, time=frame.time))
    return {"frames": len(lines), "of": len(expected), "the_same": lines == expected}, lines == expected


def four(seconds: float) -> tuple[dict[str, Any], bool]:
    """Four streams of 100 frames a second, and one of 400: images a second in all, in turns."""

    def rate(*sources: str) -> float:
        words = [word for source in sources for word in ("--video", source)]
        with running(*words, "--json", "-") as run:
            wait(run.out)
            time.sleep(seconds)
            said = run.stop()
        return sum(float(number) for number in re.findall(r"processed \d+, ([\d.]+)/s", said))

    ones, fours = [], []
    for _ in range(3):
        ones.append(rate("test:640x480@400"))
        fours.append(rate(*(f"test:640x{height}@100" for height in (480, 482, 484, 486))))
    share = float(np.median(fours) / np.median(ones))
    return {"one": ones, "four": fours, "share": round(share, 3), "limit": 0.9}, share >= 0.9


def memory(seconds: float) -> tuple[dict[str, Any], bool]:
    """Streaming with an annotated video and JSON: memory after a tenth of the time, and at its end."""
    with tempfile.TemporaryDirectory() as folder, TcpCamera(rate=RATE) as camera:
        words = ("--video", camera.address, "--output", folder, "--json", f"{folder}/found.jsonl")
        with running(*words) as run:
            samples = []
            for _ in range(10):
                time.sleep(seconds / 10)
                samples.append(round(run.memory(), 1))
            run.stop()
    growth = samples[-1] / samples[0] - 1
    return {"seconds": seconds, "memory_mb": samples, "growth": round(growth, 4), "limit": 0.05}, growth < 0.05


FIGURES: dict[str, tuple[Callable[[float], tuple[dict[str, Any], bool]], float]] = {
    "slow": (slow, 60),
    "restart": (restart, 0),
    "freeze": (freeze, 0),
    "absent": (absent, 0),
    "file": (file, 0),
    "four": (four, 8),
    "memory": (memory, 600),
}


def main() -> int:
    """Print the figures; 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)} (all)")
    parser.add_argument("--seconds", type=float, help="of slow, four and memory (60, 8 and 600)")
    options = parser.parse_args()
    missed = 0
    for name in options.figures or FIGURES:
        measure, usual = FIGURES[name]
        found, right = measure(usual if options.seconds is None else options.seconds)
        missed += not right
        print(json.dumps({"figure": name, "kept": right} | found), flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
