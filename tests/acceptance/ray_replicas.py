"""Throughput of replicas behind Ray Serve beside the plain server: `python -m tests.acceptance.ray_replicas`.

Each server runs alone, in turns, with the same image under wrk's load. The figures are valid only on an idle machine.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from data.command_line import run
from tests.acceptance.wrk import wrk
from tests.support.ports import free_port

READY_S = 60.0  # s in which the models are loaded
SERVERS = {"plain": [], "Ray, 1 replica": ["--ray"], "Ray, 2 replicas": ["--ray", "--replicas", "2"]}


@contextmanager
def server(flags: Sequence[str]) -> Iterator[int]:
    """Run `pelee-serve` with flags; yields its port once it serves."""
    port = free_port()
    command = [sys.executable, "-m", "serve.commands.serve", "--model", "pelee-voc", "--port", str(port), *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PELEE_LOG_LEVEL": "error"}
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("Pelee serves"):
            raise SystemExit("the server did not start")
        wait_until_ready(port)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_until_ready(port: int) -> None:
    """Wait for the models; the plain server answers 503 until they are loaded."""
    deadline = time.monotonic() + READY_S
    while httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=READY_S).status_code != 200:
        if time.monotonic() > deadline:
            raise SystemExit("the models were not ready in time")
        time.sleep(0.1)


def measure(image: Path, connections: int, seconds: float, rounds: int) -> int:
    """Print a table of responses per second and median latency."""
    rates: dict[str, list[float]] = {name: [] for name in SERVERS}
    medians: dict[str, list[float]] = {name: [] for name in SERVERS}
    for _ in range(rounds):
        for name, flags in SERVERS.items():
            with server(flags) as port:
                wrk(port, [image], connections, 3.0)  # warm
                load = wrk(port, [image], connections, seconds)
            rates[name].append(load.rate)
            medians[name].append(load.median)
    print("| server | responses/s | median ms |\n| --- | ---: | ---: |")
    for name in SERVERS:
        print(f"| {name} | {statistics.median(rates[name]):.0f} | {statistics.median(medians[name]):.1f} |")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurement and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.ray_replicas", description=__doc__)
    parser.add_argument("image", nargs="?", type=Path, default=Path("data/samples/chelsea.jpg"))
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    return run(lambda: measure(options.image, options.connections, options.seconds, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
