"""The tool that measures: its client, its sums, and that it tells a leak from none."""

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fakes import FakeNetwork, Running, encoded, running

from data.errors import SettingsError
from serve import load
from serve.client import Connection, get, post


@pytest.fixture(scope="module")
def live() -> Iterator[Running]:
    sources = {"fake": FakeNetwork(seconds=0.002).source()}
    sources["classes"] = FakeNetwork(classification=True).source("classes")
    with running(sources, deadline_s=60) as server:
        yield server


@pytest.fixture
def own_server(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def started(flags: object, leak: bool = False) -> Iterator[int]:
        yield live.port

    monkeypatch.setattr(load, "started", started)


def test_the_client(live: Running) -> None:
    async def ask() -> None:
        async with Connection(live.port) as connection:
            assert (await connection.ask(get("/healthz")))[:2] == (200, b'{"status": "ok"}')
            reply = await connection.ask(post("/detect", encoded()))
            assert reply.status == 200 and b"bright thing" in reply.body and reply.seconds > 0
            assert (await connection.ask(post("/detect", b"x"))).status == 415
            connection._streams[1].close()  # type: ignore[index]  # as a server does with an idle one
            assert (await connection.ask(get("/healthz"))).status == 200

    asyncio.run(ask())


def test_saturation(live: Running) -> None:
    rate, times = asyncio.run(load.saturate(live.port, [post("/detect", encoded())], 4, 0.5))
    assert len(times) >= 4 and rate == pytest.approx(len(times) / 0.5, rel=0.9)
    with pytest.raises(SettingsError, match="status 415"):
        asyncio.run(load.saturate(live.port, [post("/detect", b"x")], 1, 0.5))


@pytest.mark.parametrize(("step", "leaks"), [(0, False), (10_000_000, True)])
def test_a_leak_is_told_from_none(
    own_server: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, step: int, leaks: bool
) -> None:
    memory = [200_000_000]

    async def resident(_: object) -> int:
        memory[0] += step
        return memory[0]

    monkeypatch.setattr(load, "resident", resident)
    args = argparse.Namespace(seconds=1.5, flags=[], leak=False)
    assert load.soak(args, [encoded()]) is not leaks
    assert f'"leaks": {str(leaks).lower()}' in capsys.readouterr().out


def test_the_memory_is_read(live: Running) -> None:
    async def read() -> int:
        async with Connection(live.port) as connection:
            return await load.resident(connection)

    assert asyncio.run(read()) > 10_000_000


def test_overload(own_server: None, capsys: pytest.CaptureFixture) -> None:
    args = argparse.Namespace(seconds=1.0, flags=[], concurrency=4, deadline=20.0)
    load.overload(args, [encoded()])
    out = capsys.readouterr().out
    assert '"other_statuses": []' in out and "carried_per_s" in out


def test_shares() -> None:
    assert load.at([], 0.5) == 0
    assert [load.at([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 3, 4, 4]


def test_the_control_is_out_of_reach_of_the_command() -> None:
    from serve.cli import build_parser

    assert "leak" not in build_parser().format_help()
