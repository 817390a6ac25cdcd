"""Events through kill -9 and broker outages: what was stored, what was delivered, in which order."""

import json
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from serve.watch.storage.database import Database
from serve.watch.storage.tables import DELIVERIES, EVENTS
from tests.support.mosquitto import Broker, Subscriber, running_broker
from tests.support.paths import ROOT
from tests.support.watch_events import wait_until
from tests.support.webhook_server import WebhookServer

LIFE_S = (0.05, 0.9)  # of a process, after its start is complete
JOURNAL_WAIT_S = 60.0


class Row(NamedTuple):
    """Row of the outbox."""

    id: str
    camera: str
    destination: str
    state: str


@dataclass(frozen=True)
class KillRun:
    """Result of a run.

    Attributes:
        begun, finished: ids of the events whose begin or end the store had taken, by the journal.
        stored: phase of each event in the database, by its id.
        rows: outbox, in its order.
        received: ids of the deliveries in the order of their arrival, by destination.
        kills, outages: numbers.
    """

    begun: list[str]
    finished: list[str]
    stored: dict[str, str]
    rows: list[Row]
    received: dict[str, list[str]]
    kills: int
    outages: int

    def lost(self) -> list[str]:
        """Ids of events, and of their deliveries, that are missing anywhere."""
        missing = [one for one in self.begun if one not in self.stored]
        missing += [one for one in self.finished if self.stored.get(one) != "finish"]
        missing += [f"{one}: open" for one, phase in self.stored.items() if phase != "finish"]
        expected = Counter({(one, phase): 1 for one in self.stored for phase in ("begin", "finish")})
        for destination in self.received:
            have = {row.id for row in self.rows if row.destination == destination and row.state == "delivered"}
            wanted = [f"{one}-{phase}" for one, phase in expected if destination != "json_lines" or phase == "finish"]
            found = set(self.received[destination])
            missing += [f"{destination}: {one}" for one in wanted if one not in have or one not in found]
        return missing

    def doubled(self) -> list[str]:
        """Ids that stand twice in the outbox or in the file, each of which has them once."""
        rows = Counter((row.destination, row.id) for row in self.rows)
        lines = Counter(self.received["json_lines"])
        return [f"{destination}: {one}" for (destination, one), count in rows.items() if count > 1] + [
            f"json_lines: {one}" for one, count in lines.items() if count > 1
        ]

    def disordered(self) -> list[str]:
        """Cameras and destinations whose deliveries first came in another order than that of the outbox."""
        found = []
        for destination, ids in self.received.items():
            first = {one: number for number, one in reversed(list(enumerate(ids)))}
            expected = defaultdict(list)
            for row in self.rows:
                if row.destination == destination and row.id in first:
                    expected[row.camera].append(first[row.id])
            found += [f"{destination}: {camera}" for camera, places in expected.items() if places != sorted(places)]
        return found

    def repeated(self, destination: str) -> int:
        """Number of deliveries that came more than once."""
        return len(self.received[destination]) - len(set(self.received[destination]))


def run_kills(folder: Path, kills: int, outages: int, seed: int) -> KillRun:
    """Kill a writing process again and again while the broker comes and goes; then let a last one deliver the rest.

    Args:
        folder: empty.
        kills: number of processes that are killed.
        outages: number of times the broker stops, each across at least one kill.
        seed: of the random times.
    """
    chance = random.Random(seed)
    away = set(chance.sample(range(kills), outages))  # kills during which the broker is away
    watch = folder / "watch"
    watch.mkdir()
    server = WebhookServer()
    with running_broker(folder / "mosquitto") as broker, _subscribed(broker) as subscriber:
        for number in range(kills):
            if number in away:
                server.answers = [(503, {})] * chance.randrange(20)
                broker.stop()
            process = _start(watch, server, broker, "write", number)
            try:
                process.wait(chance.uniform(*LIFE_S))
                raise AssertionError("the process ended by itself")
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if number in away:
                broker.start()
        last = _start(watch, server, broker, "drain", kills)
        assert last.wait(180) == 0, "not everything was delivered"
        run = _collect(watch, server, subscriber, kills, outages)
    server.close()
    return run


@contextmanager
def _subscribed(broker: Broker) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker, "pelee/events")
    try:
        yield subscriber
    finally:
        subscriber.close()


def _start(watch: Path, server: WebhookServer, broker: Broker, mode: str, started: int) -> "subprocess.Popen[bytes]":
    """Start a writer, and wait until it writes: `started` others have done so before."""
    command = [sys.executable, "-m", "tests.support.watch_writer", watch, server.url, str(broker.port), mode]
    process = subprocess.Popen(command, cwd=ROOT)

    def writes() -> bool:
        assert process.poll() in (None, 0), "the process could not start"
        return _journal(watch).count(["started"]) > started

    wait_until(writes, JOURNAL_WAIT_S)
    return process


def _journal(watch: Path) -> list[list[str]]:
    path = watch / "journal"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def _collect(watch: Path, server: WebhookServer, subscriber: Subscriber, kills: int, outages: int) -> KillRun:
    database = Database(f"sqlite:///{watch}/watch.db")
    with database.read() as connection:
        stored = {row.id: row.phase for row in connection.execute(sa.select(EVENTS.c.id, EVENTS.c.phase))}
        columns = [DELIVERIES.c[name] for name in ("event", "phase", "camera", "destination", "state")]
        rows = connection.execute(sa.select(*columns).order_by(DELIVERIES.c.id)).all()
    database.close()
    outbox = [Row(f"{event}-{phase}", camera, name, state) for event, phase, camera, name, state in rows]
    published = {row.id for row in outbox if row.destination == "mqtt"}
    wait_until(lambda: published <= set(_ids([one.payload for one in subscriber.messages])))
    lines = (watch / "events.jsonl").read_bytes().splitlines()
    steps = _journal(watch)
    return KillRun(
        begun=[step[1] for step in steps if step[0] == "begin"],
        finished=[step[1] for step in steps if step[0] == "finish"],
        stored=stored,
        rows=outbox,
        received={
            "webhook hook": [post.headers["webhook-id"] for post in server.posts if post.answer < 300],
            "mqtt": _ids([one.payload for one in subscriber.messages]),
            "json_lines": [f"{json.loads(line)['id']}-finish" for line in lines],
        },
        kills=kills,
        outages=outages,
    )


def _ids(bodies: Sequence[bytes]) -> list[Any]:
    return [json.loads(body)["id"] for body in bodies]
