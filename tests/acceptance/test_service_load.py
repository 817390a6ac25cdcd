"""Acceptance programs: HTTP client, statistics, leak detection."""

import argparse
import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.errors import SettingsError
from tests.acceptance import scenarios, server_process
from tests.acceptance.http_client import Connection, get, post
from tests.acceptance.service_targets import Figure, report
from tests.acceptance.soak import growth, resident, soak
from tests.acceptance.wrk import Load, wrk
from tests.support.fake_server import FakeNetwork, RunningServer, encoded, running

MB = 1_000_000


@pytest.fixture(scope="module")
def live() -> Iterator[RunningServer]:
    sources = {"fake": FakeNetwork(seconds=0.002).source()}
    sources["classes"] = FakeNetwork(classification=True).source("classes")
    with running(sources, deadline_s=60) as server:
        yield server


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a b.jpg"
    path.write_bytes(encoded())
    return path


def test_the_client(live: RunningServer) -> None:
    async def ask() -> None:
        async with Connection(live.port) as connection:
            assert (await connection.ask(get("/healthz")))[:2] == (200, b'{"status": "ok"}')
            reply = await connection.ask(post("/detect", encoded()))
            assert reply.status == 200 and b"bright thing" in reply.body and reply.seconds > 0
            assert (await connection.ask(post("/detect", b"x"))).status == 415
            connection._streams[1].close()  # type: ignore[index]  # as a server does with an idle one
            assert (await connection.ask(get("/healthz"))).status == 200

    asyncio.run(ask())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_wrk_posts_pictures(live: RunningServer, picture: Path) -> None:
    def answers(status: str) -> float:
        return live.metric("pelee_requests_total", endpoint="/detect", model="fake", status=status)

    before = answers("200")
    told = wrk(live.port, [picture, picture], 4, 1.0)
    assert 0 <= answers("200") - before - told.rate <= 0.25 * told.rate + 4  # those of a second, and four that it left
    assert 2 <= told.median < 1000
    picture.write_bytes(b"none")
    with pytest.raises(SettingsError, match="were errors"):
        wrk(live.port, [picture], 1, 1.0)


def test_without_wrk_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SettingsError, match="apt-get install wrk"):
        wrk(1, [], 1, 1.0)


def samples(leak: float, noise: float = 0.0) -> list[tuple[float, int]]:
    """900 s of 200 MB: a warm-up of 100 MB, peaks, and MB a minute that are never given back."""
    sizes = [200 * MB + leak * MB * at / 60 + (at % 7) * noise * MB for at in range(900)]
    return [(float(at), int(size - (100 * MB if at < 100 else 0))) for at, size in enumerate(sizes)][::5]


@pytest.mark.parametrize(("leak", "noise", "expected"), [(0, 0, 0), (0, 3, 0), (1, 0, 5.9), (1, 3, 5.6), (-1, 0, -6.1)])
def test_growth_is_the_slope_after_the_warm_up(leak: float, noise: float, expected: float) -> None:
    assert growth(samples(leak, noise)) == pytest.approx(expected, abs=0.2)


def test_a_single_peak_is_no_growth() -> None:
    memory = samples(0)
    memory[-3:] = [(at, 10 * size) for at, size in memory[-3:]]
    assert growth(memory) == 0


@pytest.mark.slow
def test_the_mixture_reaches_everything(live: RunningServer) -> None:
    answers, memory = asyncio.run(soak(live.port, [encoded()], 1.5))
    assert set(answers) == {200, 400, 415, 422} and min(answers.values()) > 0
    assert len(memory) > 5 and min(size for _, size in memory) > 10 * MB
    for endpoint in ("/detect", "/detect/batch", "/classify", "/ws", "/models", "/metrics"):
        assert f'pelee_requests_total{{endpoint="{endpoint}"' in live.client.get("/metrics").text


def test_the_memory_is_read(live: RunningServer) -> None:
    async def read() -> int:
        async with Connection(live.port) as connection:
            return await resident(connection)

    assert asyncio.run(read()) > 10 * MB


@pytest.mark.slow
def test_overload(
    live: RunningServer, picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    @contextmanager
    def started(flags: object, leak: bool = False) -> Iterator[int]:
        yield live.port

    monkeypatch.setattr(scenarios, "started", started)
    monkeypatch.setattr(scenarios, "wrk", lambda *_: Load(50.0, 20.0))
    args = argparse.Namespace(seconds=1.0, flags=["--deadline-s=20"], concurrency=4, images=[picture])
    figures = {figure.name: figure for figure in scenarios.overload(args)}
    assert '"offered_per_s": 100.0' in capsys.readouterr().out
    assert figures["answers other than 200 and 429"].value == 0
    assert 2 < figures["accepted, p99, ms"].value < figures["accepted, p99, ms"].bound == 20_000


@pytest.mark.slow
def test_a_server_that_does_not_start_says_why() -> None:
    message = "did not start: error: 'ghost' is neither"
    with pytest.raises(SettingsError, match=message), server_process.started(["--model", "ghost"]):
        pass


def test_a_figure_stands_beside_its_bound(capsys: pytest.CaptureFixture) -> None:
    assert report([Figure("a, ms", 1.5, 2), Figure("b, %", 90.0, 90, at_least=True)])
    assert not report([Figure("c, ms", 2.5, 2), Figure("d, %", 95.0, 90, at_least=True)])
    assert capsys.readouterr().out.splitlines() == [
        "pass  a, ms: 1.5 (<= 2)",
        "pass  b, %: 90 (>= 90)",
        "FAIL  c, ms: 2.5 (<= 2)",
        "pass  d, %: 95 (>= 90)",
    ]


def test_shares() -> None:
    assert scenarios.at([], 0.5) == 0
    assert [scenarios.at([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 3, 4, 4]


def test_the_control_is_out_of_reach_of_the_command() -> None:
    from serve.commands.serve import build_parser

    assert "leak" not in build_parser().format_help()
