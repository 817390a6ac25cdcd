"""Home Assistant discovery: topics of a watch, and the retained messages that describe its entities.

For each camera an image and, for each of its rules, an event (every kind, with the event's values as attributes) and a
binary sensor (on while an event of the rule lasts). Source: home-assistant.io, integrations/mqtt, "MQTT discovery".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detection.watch.event import EventKind


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of one watch.

    Attributes:
        base: first part of its own topics.
        discovery: prefix of Home Assistant's.
    """

    base: str
    discovery: str

    @property
    def availability(self) -> str:
        """Topic of "online" or "offline"; retained."""
        return f"{self.base}/availability"

    @property
    def events(self) -> str:
        """Topic of all events, begin and finish."""
        return f"{self.base}/events"

    @property
    def birth(self) -> str:
        """Topic on which Home Assistant says "online" when it has started."""
        return f"{self.discovery}/status"

    def event(self, camera: str, rule: str) -> str:
        """Topic of the begin of each event of a rule."""
        return f"{self.base}/{camera}/{rule}/event"

    def state(self, camera: str, rule: str) -> str:
        """Topic of ON or OFF: whether an event of the rule lasts; retained."""
        return f"{self.base}/{camera}/{rule}/state"

    def image(self, camera: str) -> str:
        """Topic of a camera's latest snapshot, a JPEG; retained."""
        return f"{self.base}/{camera}/snapshot"


def discovery_messages(
    topics: Topics, cameras: Mapping[str, Sequence[str]], images: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Topic and values of the description of each entity.

    Args:
        topics: of the watch.
        cameras: names of the rules of each camera.
        images: whether snapshots are published.
    """
    found = []
    node = _identifier(topics.base)
    for camera, rules in cameras.items():
        device = {
            "identifiers": [f"{node}_{camera}"],
            "name": camera,
            "manufacturer": "Pelee",
            "model": "pelee-watch",
        }
        shared = {"availability_topic": topics.availability, "device": device}
        if images:
            values = {"name": "Snapshot", "image_topic": topics.image(camera), "content_type": "image/jpeg"}
            found.append(_message(topics, "image", f"{node}_{camera}_snapshot", values | shared))
        for rule in rules:
            event = {"name": rule, "state_topic": topics.event(camera, rule), "event_types": [*map(str, EventKind)]}
            found.append(_message(topics, "event", f"{node}_{camera}_{rule}_event", event | shared))
            state = {
                "name": f"{rule} active",
                "state_topic": topics.state(camera, rule),
                "payload_on": "ON",
                "payload_off": "OFF",
                "device_class": "occupancy",
            }
            found.append(_message(topics, "binary_sensor", f"{node}_{camera}_{rule}_state", state | shared))
    return found


def _message(topics: Topics, component: str, identity: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    identity = _identifier(identity)
    return f"{topics.discovery}/{component}/{identity}/config", values | {"unique_id": identity}


def _identifier(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)
