"""What the service costs and what it bears: `python -m serve.load`, figures of ratios within one run.

It starts a server of its own on a free port; arguments after `--` are that server's flags.
"""

import argparse
import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from data.command import run
from data.errors import SettingsError
from serve.client import Connection, Reply, get, post

LEAK = 8192  # bytes a request, in the control
GROWTH = 5.0  # percent of memory, above which a server is said to leak
EPILOG = """\
commands:
  throughput  detections a second at a concurrency of 16, against the bare decode + detect loop, in turns
  latency     what the service adds to the loop's median at a concurrency of 1, in turns
  overload    twice the load that it carries: what is accepted, what is refused, /healthz, memory
  soak        mixed load for a long time: memory; with --leak the server leaks on purpose, and the exit code must be 1
"""


def show(**figures: Any) -> None:
    """Print what was measured, as JSON."""
    print(json.dumps(figures, indent=2))


@contextmanager
def started(flags: Sequence[str], leak: bool = False) -> Iterator[int]:
    """Run a server until the block ends, and give its port once it is ready."""
    module = ["-m", "serve.load", "leaking-server", "--"] if leak else ["-m", "serve.cli"]
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, *module, "--port", "0", *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            address = re.search(r"http://[^ ;]+:(\d+)", process.stdout.readline())
            if address is None:
                log.seek(0)
                raise SettingsError(f"the server did not start: {log.read().decode(errors='replace').strip()}")
            port = int(address[1])
            asyncio.run(_ready(port, process))
            yield port
        finally:
            process.terminate()
            process.wait(60)


async def _ready(port: int, process: "subprocess.Popen[str]") -> None:
    async with Connection(port) as connection:
        while (await connection.ask(get("/readyz"))).status != 200:
            if process.poll() is not None:
                raise SettingsError("the server ended before it was ready; try pelee-serve itself")
            await asyncio.sleep(0.1)


async def saturate(port: int, requests: Sequence[bytes], concurrency: int, seconds: float) -> tuple[float, list[float]]:
    """Ask with so many connections, each as soon as it has its answer: answers a second, and their times."""
    times: list[float] = []
    turn = itertools.cycle(requests)
    start = time.perf_counter()

    async def worker() -> None:
        async with Connection(port) as connection:
            while time.perf_counter() - start < seconds:
                reply = await connection.ask(next(turn))
                if reply.status != 200:
                    raise SettingsError(f"status {reply.status}: {reply.body[:200].decode(errors='replace')}")
                times.append(reply.seconds)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return len(times) / (time.perf_counter() - start), times


def bare_loop(model: str, contents: Sequence[bytes], options: dict[str, str]) -> Callable[[float], list[float]]:
    """A function that detects for so many seconds without a service, one picture after the other: the time of each."""
    import cv2

    from data.images import read_image
    from detection.detector import Detector
    from detection.results import to_json_line

    cv2.setNumThreads(1)
    detector = Detector.load(model, **options)  # type: ignore[arg-type]

    def loop(seconds: float) -> list[float]:
        times = []
        turn = itertools.cycle(contents)
        until = time.perf_counter() + seconds
        while (start := time.perf_counter()) < until:
            image = read_image(next(turn))
            (found,) = detector.predict_batch([image], detector.card.default_confidence)
            to_json_line("upload", 0, image.shape[1], image.shape[0], found, detector.class_names)
            times.append(time.perf_counter() - start)
        return times

    loop(1.0)
    return loop


def throughput(args: argparse.Namespace, contents: Sequence[bytes]) -> bool:
    """Compare answers a second at a concurrency of 16 with the bare loop."""
    requests = [post("/detect", content) for content in contents]
    loop = bare_loop(args.model, contents, args.options)
    rounds = []
    with started(args.flags) as port:
        asyncio.run(saturate(port, requests, args.concurrency, 2.0))
        for _ in range(args.rounds):
            bare = loop(args.seconds)
            served, _ = asyncio.run(saturate(port, requests, args.concurrency, args.seconds))
            rounds.append((served, len(bare) / sum(bare)))
    ratio = median(served / bare for served, bare in rounds)
    show(
        concurrency=args.concurrency,
        served_per_s=[round(served, 1) for served, _ in rounds],
        bare_per_s=[round(bare, 1) for _, bare in rounds],
        ratio=round(ratio, 3),
    )
    return ratio >= 0.9


def latency(args: argparse.Namespace, contents: Sequence[bytes]) -> bool:
    """Compare the median answer at a concurrency of 1 with the bare loop's picture."""
    requests = [post("/detect", content) for content in contents]
    loop = bare_loop(args.model, contents, args.options)
    served, bare = [], []
    with started(args.flags) as port:
        asyncio.run(saturate(port, requests, 1, 2.0))
        for _ in range(args.rounds):
            bare.append(1000 * median(loop(args.seconds)))
            served.append(1000 * median(asyncio.run(saturate(port, requests, 1, args.seconds))[1]))
    added = median(one - other for one, other in zip(served, bare, strict=True))
    show(
        served_ms=[round(value, 2) for value in served],
        bare_ms=[round(value, 2) for value in bare],
        added_ms=round(added, 2),
    )
    return added <= 2.0


def overload(args: argparse.Namespace, contents: Sequence[bytes]) -> bool:
    """Ask at twice the rate that the server carries, whether it answers or not."""
    requests = [post("/detect", content) for content in contents]
    replies: list[Reply] = []
    health: list[float] = []
    memory: list[int] = []

    async def measure(port: int) -> float:
        carried, _ = await saturate(port, requests, args.concurrency, 5.0)
        free: list[Connection] = []
        turn = itertools.cycle(requests)
        start = time.perf_counter()

        async def one() -> None:
            connection = free.pop() if free else Connection(port)
            replies.append(await connection.ask(next(turn)))
            free.append(connection)

        async def watch() -> None:
            async with Connection(port) as connection:
                while time.perf_counter() - start < args.seconds:
                    health.append((await connection.ask(get("/healthz"))).seconds)
                    if len(health) % 10 == 1:
                        memory.append(await resident(connection))
                    await asyncio.sleep(0.1)

        async def arrivals() -> None:
            running = set()
            for number in range(int(2 * carried * args.seconds)):
                await asyncio.sleep(max(0.0, start + number / (2 * carried) - time.perf_counter()))
                running.add(task := asyncio.ensure_future(one()))
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)

        await asyncio.gather(arrivals(), watch())
        for connection in free:
            connection.close()
        return carried

    with started(args.flags) as port:
        carried = asyncio.run(measure(port))
    accepted = sorted(1000 * reply.seconds for reply in replies if reply.status == 200)
    refused = sorted(1000 * reply.seconds for reply in replies if reply.status == 429)
    others = sorted({reply.status for reply in replies} - {200, 429})
    health_ms = sorted(1000 * seconds for seconds in health)
    show(
        carried_per_s=round(carried, 1),
        offered_per_s=round(2 * carried, 1),
        accepted=len(accepted),
        accepted_p50_p99_ms=[round(at(accepted, 0.5), 1), round(at(accepted, 0.99), 1)],
        refused=len(refused),
        refused_p50_p99_ms=[round(at(refused, 0.5), 1), round(at(refused, 0.99), 1)],
        other_statuses=others,
        healthz_p50_p99_max_ms=[round(at(health_ms, share), 1) for share in (0.5, 0.99, 1.0)],
        memory_mb_first_max_last=[round(value / 1e6) for value in (memory[0], max(memory), memory[-1])],
    )
    deadline = 1000 * args.deadline
    return at(accepted, 0.99) <= deadline and at(refused, 0.5) <= 20 and at(health_ms, 0.99) <= 100 and not others


def soak(args: argparse.Namespace, contents: Sequence[bytes]) -> bool:
    """Ask for all kinds of things for a long time, and look at the server's memory."""
    from websockets.asyncio.client import connect

    memory: list[int] = []
    counts: dict[int, int] = {}

    def form(*files: bytes) -> bytes:
        parts = b"".join(
            b'--load\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + file + b"\r\n"
            for file in files
        )
        return parts + b"--load--\r\n"

    multipart = "Content-Type: multipart/form-data; boundary=load\r\n"
    kinds = [post("/detect", content) for content in contents for _ in range(4)]
    kinds += [post("/detect", content, "Accept: image/jpeg\r\n") for content in contents]
    kinds += [
        post("/detect?conf=0.1&classes=person,dog", form(contents[0]), multipart),
        post("/detect/batch", form(*contents, b"no picture"), multipart),
        post("/classify", contents[0]),
        post("/detect", contents[0][:-2000]),
        post("/detect", b"GIF89a"),
        post("/detect?conf=7", b""),
        post("/detect", form(*[b"x"] * 200), multipart),
        get("/models"),
        get("/metrics"),
    ]

    async def measure(port: int) -> None:
        start = time.perf_counter()
        turn = itertools.cycle(kinds)

        async def worker(number: int) -> None:
            async with Connection(port) as connection:
                for count in itertools.count(number):
                    if time.perf_counter() - start > args.seconds:
                        return
                    if count % 50 == 0:
                        await connection.leave(kinds[0])
                        continue
                    reply = await connection.ask(next(turn))
                    counts[reply.status] = counts.get(reply.status, 0) + 1

        async def watch() -> None:
            async with Connection(port) as connection:
                while time.perf_counter() - start < args.seconds:
                    memory.append(await resident(connection))
                    await asyncio.sleep(args.seconds / 200)

        async def camera() -> None:
            async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
                while time.perf_counter() - start < args.seconds:
                    await socket.send(contents[0])
                    await socket.recv()

        await asyncio.gather(watch(), camera(), *(worker(number) for number in range(4)))

    with started([*args.flags, "--model", "peleenet-tiny-imagenet"], args.leak) as port:
        asyncio.run(measure(port))
    # The first fifth is warm-up: pools grow, caches fill.
    fifth = len(memory) // 5
    before, after = median(memory[fifth : 2 * fifth]), median(memory[-fifth:])
    growth = 100 * (after / before - 1)
    show(
        minutes=round(args.seconds / 60, 1),
        answers=dict(sorted(counts.items())),
        memory_mb_before_after=[round(before / 1e6, 1), round(after / 1e6, 1)],
        growth_percent=round(growth, 2),
        leaks=growth >= GROWTH,
    )
    return growth < GROWTH


async def resident(connection: Connection) -> int:
    """The server's memory, bytes."""
    text = (await connection.ask(get("/metrics"))).body.decode()
    found = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
    if found is None:
        raise SettingsError("the server does not tell its memory; this needs Linux")
    return int(float(found[1]))


def at(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of the sorted values lies; 0 where there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def leaking_server(flags: Sequence[str]) -> int:
    """The control: pelee-serve that keeps something of every request. No flag of pelee-serve leads here."""
    from serve import cli
    from serve.service import Service

    kept: list[bytes] = []
    whole = Service._through

    async def leaking(self: Service, *args: Any) -> Any:
        kept.append(os.urandom(LEAK))
        return await whole(self, *args)

    Service._through = leaking  # type: ignore[assignment,method-assign]
    return cli.main(flags)


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace, Sequence[bytes]], bool], float]] = {
    "throughput": (throughput, 10.0),
    "latency": (latency, 10.0),
    "overload": (overload, 60.0),
    "soak": (soak, 900.0),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a measurement; the exit code is 1 where a figure is missed."""
    words = list(sys.argv[1:] if argv is None else argv)
    words, flags = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    if words == ["leaking-server"]:
        return leaking_server(flags)
    parser = argparse.ArgumentParser(
        prog="python -m serve.load", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("pictures", nargs="*", type=Path, default=[Path("data/samples/astronaut.jpg")])
    parser.add_argument("--model", default="pelee-voc")
    parser.add_argument("--runtime", default="auto", help="of the server and of the bare loop (%(default)s)")
    parser.add_argument("--seconds", type=float, help="of each round (10), of the overload (60), of the soak (900)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--deadline", type=float, default=3.0, help="the server's deadline_s (%(default)s)")
    parser.add_argument("--leak", action="store_true", help="soak: the control")
    args = parser.parse_args(words)
    measure, seconds = COMMANDS[args.command]
    args.seconds = seconds if args.seconds is None else args.seconds
    args.options = {"runtime": args.runtime}
    shared = ["--model", args.model, "--runtime", args.runtime, "--deadline-s", str(args.deadline)]
    args.flags = [*shared, *flags]
    return run(lambda: 0 if measure(args, [path.read_bytes() for path in args.pictures]) else 1)


if __name__ == "__main__":
    sys.exit(main())
