"""Soak test: mixed load for a long time, and the growth of the server's memory."""

import asyncio
import itertools
import re
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from data.errors import SettingsError
from tests.acceptance.http_client import Connection, get, post

WORKERS = 4
WARM_UP = 0.2  # share of the time in which pools and caches fill, and which does not count
SAMPLES = 200


class Soak(NamedTuple):
    """Result of a soak test.

    Attributes:
        answers: how many of each status.
        memory: (seconds since the start, resident bytes), in their order.
    """

    answers: dict[int, int]
    memory: list[tuple[float, int]]


def growth(memory: Sequence[tuple[float, int]]) -> float:
    """Per cent by which memory grew after the warm-up: the slope of all samples, not the two ends.

    The slope is the median of those between all pairs (Theil and Sen), to which single peaks, such as a large picture
    under way, mean nothing.
    """
    end = memory[-1][0]
    kept = [(at, size) for at, size in memory if at >= WARM_UP * end]
    slope = statistics.median(
        (size - before) / (at - since) for (since, before), (at, size) in itertools.combinations(kept, 2)
    )
    level = statistics.median(size - slope * (at - kept[0][0]) for at, size in kept)
    return 100 * slope * (kept[-1][0] - kept[0][0]) / level


def mixture(contents: Sequence[bytes]) -> list[bytes]:
    """Requests of all kinds, good ones and bad ones."""

    def form(*files: bytes) -> bytes:
        head = b'--load\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        return b"".join(head + file + b"\r\n" for file in files) + b"--load--\r\n"

    multipart = "Content-Type: multipart/form-data; boundary=load\r\n"
    return [
        *(post("/detect", content) for content in contents for _ in range(4)),
        *(post("/detect", content, "Accept: image/jpeg\r\n") for content in contents),
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


async def soak(port: int, contents: Sequence[bytes], seconds: float) -> Soak:
    """Ask for all kinds of things for so long, over HTTP and /ws; some clients leave without their answer."""
    from websockets.asyncio.client import connect

    answers: dict[int, int] = {}
    memory: list[tuple[float, int]] = []
    requests = mixture(contents)
    turn = itertools.cycle(requests)
    start = time.perf_counter()

    def passed() -> float:
        return time.perf_counter() - start

    async def worker(number: int) -> None:
        async with Connection(port) as connection:
            for count in itertools.count(number):
                if passed() > seconds:
                    return
                if count % 50 == 0:
                    await connection.leave(requests[0])
                    continue
                reply = await connection.ask(next(turn))
                answers[reply.status] = answers.get(reply.status, 0) + 1

    async def camera() -> None:
        async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
            while passed() < seconds:
                await socket.send(contents[0])
                await socket.recv()

    async def watch() -> None:
        async with Connection(port) as connection:
            while passed() < seconds:
                memory.append((passed(), await resident(connection)))
                await asyncio.sleep(seconds / SAMPLES)

    await asyncio.gather(watch(), camera(), *map(worker, range(WORKERS)))
    return Soak(answers, memory)


async def resident(connection: Connection) -> int:
    """The server's memory, bytes."""
    text = (await connection.ask(get("/metrics"))).body.decode()
    found = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
    if found is None:
        raise SettingsError("the server does not tell its memory; this needs Linux")
    return int(float(found[1]))


def leaking_server(flags: Sequence[str]) -> int:
    """Negative control: a pelee-serve that keeps every image in memory. Only the tests can start it."""
    from serve.commands import serve as cli
    from serve.inference.service import Service

    kept: list[bytes] = []
    whole = Service._run_pipeline

    async def leaking(self: Service, content: bytes, *args: Any) -> Any:
        kept.append(content)
        return await whole(self, content, *args)

    Service._run_pipeline = leaking  # type: ignore[assignment,method-assign]
    return cli.main(flags)
