import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.watch.deliveries.courier import Courier
from serve.watch.deliveries.destination import RetryPace
from serve.watch.deliveries.mqtt_destination import MqttDestination
from serve.watch.deliveries.outbox import Outbox
from serve.watch.settings import MqttSettings
from serve.watch.storage.database import Database
from serve.watch.storage.event_store import EventStore
from tests.support.mosquitto import Broker, Subscriber, running_broker
from tests.support.watch_events import ended, make_event, wait_until, write_files

USER = ("watch", "a-password-1")
CAMERAS = {"yard": ["people"], "road": ["people"]}
QUICK = RetryPace(0.05, 0.1)


class Sender:
    """Database, courier and destination of one run."""

    def __init__(self, folder: Path, settings: MqttSettings) -> None:
        self.folder = folder
        self.database = Database(f"sqlite:///{folder}/watch.db")
        self.destination = destination = MqttDestination(settings, CAMERAS, folder, QUICK)
        self.store = EventStore(self.database, folder, [destination.route])
        self.outbox = Outbox(self.database)
        self.courier = Courier(self.outbox, [destination], QUICK)

    def send(self, *numbers: int, **values: Any) -> None:
        for number in numbers:
            event = make_event(number, **values)
            write_files(self.folder, event)
            self.store.begin(event)
            self.store.finish(ended(event))
        self.courier.wake()

    def counts(self) -> dict[str, Any]:
        (counts,) = self.outbox.counts(["mqtt"])
        return counts

    def drained(self) -> None:
        wait_until(lambda: not self.counts()["pending"])

    def close(self) -> None:
        self.courier.close()
        self.database.close()


@contextlib.contextmanager
def sending(folder: Path, broker: Broker, **settings: Any) -> Iterator[Sender]:
    sender = Sender(folder, MqttSettings("127.0.0.1", broker.port, **settings))
    try:
        yield sender
    finally:
        sender.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "mosquitto") as running:
        yield running


@pytest.mark.slow
def test_events_states_snapshots_and_discovery(tmp_path: Path, broker: Broker) -> None:
    subscriber = Subscriber(broker)
    with sending(tmp_path, broker) as sender:
        sender.send(1)
        sender.send(2, camera="road")
        sender.drained()
        wait_until(lambda: len(subscriber.of("pelee/events")) == 4)
    wait_until(lambda: b"offline" in [one.payload for one in subscriber.of("pelee/availability")])
    late = Subscriber(broker, "pelee/availability")
    wait_until(lambda: late.messages)
    assert late.messages[0].retain and late.messages[0].payload == b"offline"
    late.close()
    bodies = [json.loads(one.payload) for one in subscriber.of("pelee/events")]
    yard = [body for body in bodies if body["event"]["camera"] == "yard"]
    assert [body["phase"] for body in yard] == ["begin", "finish"] and yard[0]["id"] == f"{1:032x}-begin"
    assert all(one.qos == 1 for one in subscriber.messages)
    (event,) = subscriber.of("pelee/yard/people/event")
    assert json.loads(event.payload)["event_type"] == "entered"
    assert [one.payload for one in subscriber.of("pelee/yard/people/state")] == [b"ON", b"OFF"]
    assert set(one.payload for one in subscriber.of("pelee/yard/snapshot")) == {b"b" * 50}
    configs = {one.topic for one in subscriber.messages if one.topic.startswith("homeassistant/")}
    assert len(configs) == 6
    subscriber.close()


@pytest.mark.slow
def test_home_assistant_is_told_again_when_it_starts(tmp_path: Path, broker: Broker) -> None:
    subscriber = Subscriber(broker)
    with sending(tmp_path, broker, snapshots=False):
        wait_until(lambda: subscriber.of("pelee/availability"))
        subscriber._client.publish("homeassistant/status", "online", qos=1).wait_for_publish(20)
        wait_until(lambda: len(subscriber.of("pelee/availability")) == 2)
    assert len([one for one in subscriber.messages if "/binary_sensor/" in one.topic]) == 4
    subscriber.close()


@pytest.mark.slow
def test_a_connection_that_breaks_is_the_last_will_and_comes_back(tmp_path: Path, broker: Broker) -> None:
    subscriber = Subscriber(broker, "pelee/availability")
    with sending(tmp_path, broker, discovery=False) as sender:
        wait_until(lambda: sender.destination._client and subscriber.messages)
        sender.destination._client._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        wait_until(lambda: len(subscriber.messages) == 3)
    wait_until(lambda: len(subscriber.messages) == 4)
    states = [one.payload.decode() for one in subscriber.messages]
    assert states == ["online", "offline", "online", "offline"]
    subscriber.close()


@pytest.mark.slow
def test_an_outage_loses_nothing_and_keeps_the_order(tmp_path: Path, broker: Broker) -> None:
    subscriber = Subscriber(broker, "pelee/events")
    with sending(tmp_path, broker, discovery=False) as sender:
        sender.send(1)
        sender.drained()
        broker.stop()
        sender.send(2, 3)
        wait_until(lambda: sender.counts()["problem"] is not None)
        assert sender.counts()["pending"] == 4 and sender.counts()["oldest"] is not None
        broker.start()
        sender.drained()
        wait_until(lambda: len({one.payload for one in subscriber.messages}) == 6)
    ids = list(dict.fromkeys(json.loads(one.payload)["id"] for one in subscriber.messages))
    assert ids == [f"{number:032x}-{phase}" for number in (1, 2, 3) for phase in ("begin", "finish")]
    subscriber.close()


@pytest.mark.slow
def test_tls_and_password(tmp_path: Path) -> None:
    with running_broker(tmp_path / "mosquitto", USER, tls=True) as broker:
        subscriber = Subscriber(broker)
        good = {"tls": True, "ca_file": broker.certificate, "username": USER[0], "password": USER[1]}
        with sending(tmp_path, broker, **good) as sender:
            sender.send(1)
            sender.drained()
            wait_until(lambda: len(subscriber.of("pelee/events")) == 2)
        subscriber.close()
        for wrong, part in (({"ca_file": None}, "certificate"), ({"password": "wrong-password"}, "")):
            with sending(tmp_path, broker, **(good | wrong)) as sender:
                sender.send(2)
                problem = wait_until(lambda: sender.counts()["problem"])
                assert sender.counts()["pending"]
                wait_until(lambda: part in (sender.counts()["problem"] or "").lower())  # noqa: B023
                assert "password" not in problem.replace("user name or password", "") and "\n" not in problem
    assert threading.active_count() < 50
