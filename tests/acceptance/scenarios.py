"""Load scenarios of the service."""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.acceptance.http_client import Connection, Reply, get, post
from tests.acceptance.server_process import inside, started
from tests.acceptance.service_targets import Figure
from tests.acceptance.soak import growth, resident, soak
from tests.acceptance.wrk import wrk

if TYPE_CHECKING:
    from serve.settings import ServeSettings


def show(**details: Any) -> None:
    """Print what the figures were made of, as a line of JSON."""
    print(json.dumps(details))


def bare_loop(settings: "ServeSettings", contents: Sequence[bytes]) -> Callable[[float], list[float]]:
    """A function that detects for so many seconds without a service, one image after the other: the ms of each."""
    import cv2

    from data.images.image_io import read_image
    from detection.detector import Detector
    from detection.inference.result_formats import to_json_line

    cv2.setNumThreads(1)  # as `serve.web.server.serve` does
    options = {key: getattr(settings, key) for key in ("runtime", "device", "precision")}
    mode = "latency" if settings.mode == "auto" else settings.mode  # the faster one for one image after the other
    detector = Detector.load(settings.models[0], mode=mode, **options)

    def loop(seconds: float) -> list[float]:
        times = []
        turn = itertools.cycle(contents)
        until = time.perf_counter() + seconds
        while (start := time.perf_counter()) < until:
            image = read_image(next(turn))
            (found,) = detector.predict_batch([image], detector.card.default_thresholds)
            to_json_line("upload", 0, image.shape[1], image.shape[0], found, detector.class_names)
            times.append(1000 * (time.perf_counter() - start))
        return times

    loop(1.0)
    return loop


def in_turns(args: argparse.Namespace, concurrency: int) -> list[tuple[list[float], Any]]:
    """Rounds of the bare loop (the ms of each image) and of the service, which rests meanwhile."""
    settings = _settings(args.flags)
    loop = bare_loop(settings, [path.read_bytes() for path in args.images])
    with inside(settings) as port:
        wrk(port, args.images, concurrency, 2.0)
        return [(loop(args.seconds), wrk(port, args.images, concurrency, args.seconds)) for _ in range(args.rounds)]


def throughput(args: argparse.Namespace) -> list[Figure]:
    """Compare answers a second at a concurrency of 16 with the bare loop."""
    rounds = [(1000 * len(bare) / sum(bare), served.rate) for bare, served in in_turns(args, args.concurrency)]
    show(bare_per_s=[round(bare, 1) for bare, _ in rounds], served_per_s=[round(served, 1) for _, served in rounds])
    share = 100 * median(served / bare for bare, served in rounds)
    return [Figure(f"throughput at concurrency {args.concurrency}, % of the bare loop", share, 90, at_least=True)]


def latency(args: argparse.Namespace) -> list[Figure]:
    """Compare the median answer at a concurrency of 1 with the bare loop's image."""
    rounds = [(median(bare), served.median) for bare, served in in_turns(args, 1)]
    show(bare_ms=[round(bare, 2) for bare, _ in rounds], served_ms=[round(served, 2) for _, served in rounds])
    return [Figure("added to the median at concurrency 1, ms", median(two - one for one, two in rounds), 2)]


def overload(args: argparse.Namespace) -> list[Figure]:
    """Ask at twice the rate that the server carries, whether it answers or not."""
    replies: list[Reply] = []
    health: list[float] = []
    memory: list[int] = []
    requests = [post("/detect", path.read_bytes()) for path in args.images]

    async def measure(port: int, rate: float) -> None:
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
                    health.append(1000 * (await connection.ask(get("/healthz"))).seconds)
                    if len(health) % 10 == 1:
                        memory.append(await resident(connection))
                    await asyncio.sleep(0.1)

        async def arrivals() -> None:
            running = set()
            for number in range(int(rate * args.seconds)):
                await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
                running.add(task := asyncio.ensure_future(one()))
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)

        await asyncio.gather(arrivals(), watch())
        for connection in free:
            connection.close()

    settings = _settings(args.flags)
    with started(args.flags) as port:
        carried = wrk(port, args.images, args.concurrency, 5.0).rate
        asyncio.run(measure(port, 2 * carried))
    accepted = sorted(1000 * reply.seconds for reply in replies if reply.status == 200)
    refused = sorted(1000 * reply.seconds for reply in replies if reply.status == 429)
    health.sort()
    show(
        carried_per_s=round(carried, 1),
        offered_per_s=round(2 * carried, 1),
        accepted=len(accepted),
        accepted_p50_p99_ms=[round(at(accepted, share), 1) for share in (0.5, 0.99)],
        refused=len(refused),
        refused_p50_p99_ms=[round(at(refused, share), 1) for share in (0.5, 0.99)],
        healthz_p50_p99_max_ms=[round(at(health, share), 1) for share in (0.5, 0.99, 1.0)],
        memory_mb_first_max_last=[round(value / 1e6) for value in (memory[0], max(memory), memory[-1])],
    )
    # Bodies, and images of the default 25 megapixels in each decoder, twice: as stored and upright.
    room = settings.max_buffered_mb + settings.max_decoding / 1e6
    return [
        Figure("accepted, p99, ms", at(accepted, 0.99), 1000 * settings.deadline_s),
        Figure("refused, median, ms", at(refused, 0.5), 20),
        Figure("/healthz, p99, ms", at(health, 0.99), 100),
        Figure("memory grew by, MB", (max(memory) - memory[0]) / 1e6, room),
        Figure("answers other than 200 and 429", len(replies) - len(accepted) - len(refused), 0),
    ]


def soaked(args: argparse.Namespace) -> list[Figure]:
    """Ask for all kinds of things for a long time, and look at the server's memory."""
    contents = [path.read_bytes() for path in args.images]
    with started([*args.flags, "--model", "peleenet-tiny-imagenet"], args.leak) as port:
        answers, memory = asyncio.run(soak(port, contents, args.seconds))
    grown = growth(memory)
    sizes = [size for _, size in memory]
    show(
        minutes=round(args.seconds / 60, 1),
        answers=dict(sorted(answers.items())),
        memory_mb=[round(size / 1e6, 1) for size in sizes[:: max(1, len(sizes) // 20)]],
    )
    name = "memory grew after the warm-up, %"
    if args.leak:
        return [Figure(f"{name}, with a leak on purpose", grown, 5, at_least=True)]
    return [Figure(name, grown, 5), Figure("answers 500", answers.get(500, 0), 0)]


def at(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of the sorted values lies; 0 where there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _settings(flags: Sequence[str]) -> "ServeSettings":
    from serve.commands.serve import parse_flags
    from serve.settings import load_settings

    return load_settings(**parse_flags(flags))
