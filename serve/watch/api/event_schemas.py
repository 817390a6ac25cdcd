"""Pydantic models of the watch API, for validation and the OpenAPI description.

The values themselves come from `serve.watch.storage.event_queries`, `serve.watch.deliveries.outbox` and
`detection.watch.watched_camera`; the tests compare these models with them field by field.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from detection.watch.event import EventKind
from serve.errors import short
from serve.watch.storage.event_queries import LARGEST_PAGE, EventFilter

FileName = Literal["none", "stored", "dropped", "missing"]
Names = Annotated[list[Annotated[str, Field(max_length=2000)]], Field(max_length=100)]
NAMES = "Only these: names, comma-separated or one in each parameter."
KEY = "An API key, for requests of a page that cannot set the header X-API-Key: images, videos, event streams."


class EventFilterQuery(BaseModel):
    """Query parameters that choose events."""

    model_config = ConfigDict(extra="forbid")

    camera: Names | None = Field(None, description=NAMES, examples=[["yard"]])
    label: Names | None = Field(None, description=NAMES, examples=[["person,dog"]])
    zone: Names | None = Field(None, description=NAMES)
    rule: Names | None = Field(None, description=NAMES)
    kind: Names | None = Field(None, description=f"Only these kinds: {', '.join(EventKind)}.", examples=[["entered"]])
    after: AwareDatetime | None = Field(
        None, description="Only events that start at this time or later.", examples=["2026-01-31T22:00:00Z"]
    )
    before: AwareDatetime | None = Field(None, description="Only events that start before this time.")
    open: bool | None = Field(None, description="true: only events that still last; false: only those that have ended.")
    ids: Names | None = Field(None, description="Only events with these ids.")

    @field_validator("kind")
    @classmethod
    def _known(cls, value: list[str] | None) -> list[str] | None:
        for name in _split(value):
            if name not in list(EventKind):
                context = {"name": short(name), "kinds": ", ".join(EventKind)}
                raise PydanticCustomError("kind", "no kind {name}; expected {kinds}", context)
        return value

    def to_filter(self) -> EventFilter:
        """Filter for the database."""
        names = {name: _split(getattr(self, name)) for name in ("camera", "label", "zone", "rule", "kind", "ids")}
        return EventFilter(after=self.after, before=self.before, open=self.open, **names)


class EventListQuery(EventFilterQuery):
    """Query parameters of /events."""

    limit: int = Field(50, description="Maximum number of events of the page.", ge=1, le=LARGEST_PAGE)
    cursor: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="`next` of the page before; the same filters go with it."
    )


class EventExportQuery(EventFilterQuery):
    """Query parameters of /events/export."""

    key: str | None = Field(None, description=KEY, max_length=200)


class EventStreamQuery(BaseModel):
    """Query parameters of /events/stream."""

    model_config = ConfigDict(extra="forbid")

    after: int | None = Field(
        None,
        description="Begin after this change (`change` of an event); with the header Last-Event-ID after that.",
        ge=0,
    )
    key: str | None = Field(None, description=KEY, max_length=200)


class EventFileQuery(BaseModel):
    """Query parameters of a clip or a camera's frame."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = Field(None, description=KEY, max_length=200)


class SnapshotQuery(EventFileQuery):
    """Query parameters of a snapshot."""

    boxes: bool = Field(False, description="Whether the object's box is drawn.")


class ListedEvent(BaseModel):
    """Event without its boxes."""

    id: str = Field(description="The same from begin to end.", pattern="^[0-9a-f]{32}$")
    camera: str = Field(examples=["yard"])
    rule: str = Field(examples=["people"])
    kind: EventKind
    label: str = Field(examples=["person"])
    track: int = Field(description="Number of the object at this camera in one run.")
    zone: str | None = Field(description="Zone, for `crossed` the line.", examples=["gate"])
    direction: Literal["in", "out"] | None = Field(description="Of `crossed`.")
    start: str = Field(description="ISO 8601, UTC.", examples=["2026-01-31T22:14:05.250000Z"])
    end: str | None = Field(description="null while the event lasts.")
    score: float = Field(description="Best score of the object, 0 to 1.")
    width: int = Field(description="Of the frame to which the boxes refer, pixels.")
    height: int
    phase: Literal["begin", "update", "finish"] = Field(description="Latest that was heard of the event.")
    interrupted: bool = Field(description="The program ended unexpectedly before the event did.")
    snapshot: FileName = Field(description="stored: there is one; none: there never was; dropped: by retention.")
    clip: FileName = Field(description="As `snapshot`; none while the event lasts.")
    change: int = Field(description="Number of the event's latest change among those of all events.")


class EventBox(BaseModel):
    """Box of the object at one time."""

    time: str
    box: list[float] = Field(description="x1, y1, x2, y2 in pixels of the frame.", min_length=4, max_length=4)
    score: float


class EventDelivery(BaseModel):
    """Delivery of an event to one destination."""

    destination: str = Field(examples=["mqtt", "webhook phone", "json_lines"])
    phase: Literal["begin", "finish"]
    state: Literal["pending", "delivered", "given_up"]
    attempts: int
    problem: str | None = Field(description="Of the latest attempt, if it failed.")
    created: str
    ended: str | None = Field(description="When it was delivered or given up.")


class EventDetail(ListedEvent):
    """Event with its boxes and deliveries."""

    boxes: list[EventBox] = Field(description="Oldest first.")
    deliveries: list[EventDelivery]


class EventList(BaseModel):
    """Page of events, the newest start first."""

    events: list[ListedEvent]
    next: str | None = Field(description="`cursor` of the next page; null after the last.")


class CameraStatus(BaseModel):
    """State and figures of a camera."""

    name: str
    source: str = Field(description="Address without a password.")
    state: Literal["connecting", "live", "lost", "ended"]
    problem: str | None = Field(description="Why it is lost, or not connected.")
    size: list[int] | None = Field(description="Width and height of the analyzed frames, pixels.")
    frames_per_second: float = Field(description="That arrive.")
    analyzed_per_second: float = Field(description="That went to the network; few without motion.")
    frames: int
    analyzed: int
    tiles: int
    dropped: int
    damaged: int
    reconnects: int
    age_p99_ms: float | None = Field(description="99th percentile of the time from a frame to its events, ms.")
    objects: int = Field(description="Objects in view.")


class CameraList(BaseModel):
    """All cameras, in the order of the settings."""

    cameras: list[CameraStatus]


class DestinationCounts(BaseModel):
    """Deliveries of one destination."""

    destination: str
    pending: int
    delivered: int
    given_up: int
    oldest: str | None = Field(description="Time of the oldest pending delivery.")
    problem: str | None = Field(description="Of its latest attempt.")


class DeliveryList(BaseModel):
    """Deliveries by destination, and what is stored."""

    destinations: list[DestinationCounts]
    events: int
    open: int = Field(description="Events that still last.")
    bytes: int = Field(description="Size of all snapshots and clips.")
    waiting: int = Field(description="States of events that could not be written to the database yet.")


def _split(values: list[str] | None) -> tuple[str, ...]:
    names = [name.strip() for value in values or () for name in value.split(",")]
    return tuple(name for name in names if name)
