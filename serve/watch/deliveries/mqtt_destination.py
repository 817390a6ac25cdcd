"""MQTT destination: publishes events at QoS 1, and entities for Home Assistant, through one held connection."""

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import aiomqtt

from detection.watch.event import Event, EventFiles
from serve.observability.json_logging import log
from serve.watch.deliveries.destination import DeliveryFailed, RetryPace
from serve.watch.deliveries.discovery import Topics, discovery_messages
from serve.watch.deliveries.outbox import Delivery
from serve.watch.settings import MqttSettings, Phase
from serve.watch.storage.event_store import DeliveryRoute

NAME = "mqtt"
CONFIRM_S = 10.0  # s within which the broker must confirm a message, or a connection
KEEPALIVE_S = 30  # s; the broker publishes the last will after one and a half of these
LARGEST_SNAPSHOT = 4_000_000  # bytes; a larger one is not published


class MqttDestination:
    """Broker. A message counts as delivered when the broker has confirmed it (PUBACK)."""

    def __init__(
        self, settings: MqttSettings, cameras: Mapping[str, Sequence[str]], folder: Path, pace: RetryPace | None = None
    ) -> None:
        """Set up; `run` connects.

        Args:
            settings: of the broker.
            cameras: names of the rules of each camera, for Home Assistant.
            folder: of the events' files.
            pace: waits between attempts to connect.
        """
        self.settings = settings
        self.cameras = cameras
        self.folder = folder
        self.pace = pace or RetryPace(longest_s=60.0)
        self.topics = Topics(settings.topic, settings.discovery_prefix)
        self.route = DeliveryRoute(NAME, (Phase.BEGIN, Phase.FINISH))
        self.give_up_s = 3600 * settings.give_up_hours
        self._client: aiomqtt.Client | None = None
        self._problem = "not connected yet"

    async def run(self, ready: Callable[[], None]) -> None:
        """Connect, and again after a loss, until cancelled; the last message is then "offline"."""
        failures = 0
        while True:
            try:
                async with self._connect() as client:
                    await self._announce(client)
                    self._client, failures = client, 0
                    log(logging.INFO, "mqtt connected", host=self.settings.host)
                    ready()
                    try:
                        await self._listen(client)
                    except asyncio.CancelledError:
                        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                            await client.publish(self.topics.availability, "offline", qos=1, retain=True, timeout=2.0)
                        raise
            except (aiomqtt.MqttError, OSError, ValueError) as error:  # ValueError: of TLS
                self._problem = " ".join(str(error).split())[:200] or type(error).__name__
                if not failures:
                    log(logging.WARNING, "mqtt not connected", host=self.settings.host, problem=self._problem)
            finally:
                self._client = None
            failures += 1
            await asyncio.sleep(self.pace.wait(failures))

    async def deliver(self, delivery: Delivery) -> None:
        """Publish an event to its topics; raises `DeliveryFailed`."""
        client = self._client
        if client is None:
            raise DeliveryFailed(f"{self.settings.host}: {self._problem}")
        try:
            for topic, payload, retain in self._messages(delivery):
                await client.publish(topic, payload, qos=1, retain=retain, timeout=CONFIRM_S)
        except (aiomqtt.MqttError, OSError) as error:
            raise DeliveryFailed(f"{self.settings.host}: {error}") from None

    def _connect(self) -> aiomqtt.Client:
        context = None
        if self.settings.tls:
            ca_file = self.settings.ca_file
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        return aiomqtt.Client(
            self.settings.host,
            self.settings.broker_port,
            username=self.settings.username,
            password=self.settings.password,
            tls_context=context,
            will=aiomqtt.Will(self.topics.availability, "offline", qos=1, retain=True),
            timeout=CONFIRM_S,
            keepalive=KEEPALIVE_S,
        )

    async def _announce(self, client: aiomqtt.Client) -> None:
        if self.settings.discovery:
            for topic, values in discovery_messages(self.topics, self.cameras, self.settings.snapshots):
                await client.publish(topic, json.dumps(values), qos=1, retain=True)
        await client.publish(self.topics.availability, "online", qos=1, retain=True)

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Announce again when Home Assistant starts; ends with an error when the connection is lost."""
        await client.subscribe(self.topics.birth, qos=1)
        async for message in client.messages:
            if message.payload == b"online":
                await self._announce(client)

    def _messages(self, delivery: Delivery) -> list[tuple[str, str | bytes, bool]]:
        """Topic, payload and whether it is retained of each message of a delivery, in this order."""
        body = json.loads(delivery.body)
        event = body["event"]
        camera, rule = event["camera"], event["rule"]
        found: list[tuple[str, str | bytes, bool]] = [(self.topics.events, delivery.body, False)]
        if delivery.phase == Phase.BEGIN:
            values = {"event_type": event["kind"], **event}
            found.append((self.topics.event(camera, rule), json.dumps(values), False))
        found.append((self.topics.state(camera, rule), "ON" if body["active"] else "OFF", True))
        if self.settings.snapshots and (snapshot := self._snapshot(event)) is not None:
            found.append((self.topics.image(camera), snapshot, True))
        return found

    def _snapshot(self, values: dict[str, object]) -> bytes | None:
        path = EventFiles.of(self.folder, Event.from_json({**values, "boxes": []})).boxed_snapshot
        try:
            return path.read_bytes() if 0 < path.stat().st_size <= LARGEST_SNAPSHOT else None
        except OSError:
            return None
