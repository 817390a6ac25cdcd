"""Outbox: the deliveries that are due, what became of each, and their numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from detection.watch.event import iso_time
from serve.watch.storage.database import Database
from serve.watch.storage.event_store import DeliveryState
from serve.watch.storage.tables import DELIVERIES


@dataclass(frozen=True, slots=True)
class Delivery:
    """Delivery to one destination.

    Attributes:
        number: number of its row; deliveries of a camera go out in this order.
        event: id of the event.
        phase: begin or finish.
        camera: name of the camera.
        body: JSON, the same at each attempt.
        created: aware time of its row.
        attempts: failed attempts so far.
        next_attempt: aware time before which it is not tried again.
    """

    number: int
    event: str
    phase: str
    camera: str
    body: str
    created: datetime
    attempts: int
    next_attempt: datetime

    @property
    def id(self) -> str:
        """Stable id, the same at each attempt: that of the event, "-", and the phase."""
        return f"{self.event}-{self.phase}"


COLUMNS = [
    DELIVERIES.c.id.label("number"),
    *(DELIVERIES.c[name] for name in ("event", "phase", "camera", "body", "created", "attempts", "next_attempt")),
]


class Outbox:
    """Deliveries in the database. All methods raise `DatabaseError`."""

    def __init__(self, database: Database) -> None:
        """Use an open database."""
        self.database = database

    def heads(self, destination: str) -> list[Delivery]:
        """Return the oldest pending delivery of each camera to a destination, whether or not it is due."""
        first = (
            sa.select(sa.func.min(DELIVERIES.c.id))
            .where(DELIVERIES.c.destination == destination, DELIVERIES.c.state == DeliveryState.PENDING)
            .group_by(DELIVERIES.c.camera)
        )
        query = sa.select(*COLUMNS).where(DELIVERIES.c.id.in_(first)).order_by(DELIVERIES.c.id)
        with self.database.errors(), self.database.read() as connection:
            return [Delivery(**row) for row in connection.execute(query).mappings()]

    def delivered(self, number: int) -> None:
        """Record that a destination has taken a delivery."""
        self._end(number, DeliveryState.DELIVERED, None)

    def give_up(self, number: int, problem: str) -> None:
        """Record that a delivery is not tried again."""
        self._end(number, DeliveryState.GIVEN_UP, problem)

    def retry(self, number: int, next_attempt: datetime, problem: str) -> None:
        """Record a failed attempt, and when the next one is due."""
        self._set(number, attempts=DELIVERIES.c.attempts + 1, next_attempt=next_attempt, problem=problem[:300])

    def drop_others(self, destinations: Iterable[str]) -> int:
        """Give up the deliveries to destinations that are no longer set; returns their number."""
        query = (
            sa.update(DELIVERIES)
            .where(DELIVERIES.c.state == DeliveryState.PENDING, DELIVERIES.c.destination.not_in(list(destinations)))
            .values(
                state=DeliveryState.GIVEN_UP,
                ended=datetime.now(UTC),
                problem="the destination is not in the settings",
            )
        )
        with self.database.errors(), self.database.write() as connection:
            return connection.execute(query).rowcount

    def counts(self, destinations: Iterable[str]) -> list[dict[str, Any]]:
        """Return numbers by destination, also of those without a delivery, as plain values for JSON.

        `oldest` is the time of the oldest pending delivery, `problem` what its latest attempt met; null for none.
        """
        number = sa.func.count()
        query = sa.select(DELIVERIES.c.destination, DELIVERIES.c.state, number).group_by(
            DELIVERIES.c.destination, DELIVERIES.c.state
        )
        oldest = sa.select(sa.func.min(DELIVERIES.c.id)).where(DELIVERIES.c.state == DeliveryState.PENDING)
        heads = sa.select(DELIVERIES.c.destination, DELIVERIES.c.created, DELIVERIES.c.problem).where(
            DELIVERIES.c.id.in_(oldest.group_by(DELIVERIES.c.destination))
        )
        zero: dict[str, Any] = dict.fromkeys(map(str, DeliveryState), 0) | {"oldest": None, "problem": None}
        found = {name: dict(zero) for name in destinations}
        with self.database.errors(), self.database.read() as connection:
            for name, state, count in connection.execute(query):
                found.setdefault(name, dict(zero))[state] = count
            for name, created, problem in connection.execute(heads):
                found[name] |= {"oldest": iso_time(created), "problem": problem}
        return [{"destination": name, **values} for name, values in found.items()]

    def _end(self, number: int, state: DeliveryState, problem: str | None) -> None:
        self._set(
            number,
            state=state,
            ended=datetime.now(UTC),
            attempts=DELIVERIES.c.attempts + 1,
            problem=None if problem is None else problem[:300],
        )

    def _set(self, number: int, **values: Any) -> None:
        with self.database.errors(), self.database.write() as connection:
            connection.execute(sa.update(DELIVERIES).where(DELIVERIES.c.id == number).values(values))
