"""Prometheus metrics of a watch: events, bytes of files, deliveries by destination and state."""

from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from serve.watch.storage.event_store import DeliveryState
from serve.watch.watch_store import WatchStore


class WatchMetrics:
    """Gauges of one watch, which `refresh` reads from the database."""

    def __init__(self, store: WatchStore, registry: CollectorRegistry) -> None:
        """Register all gauges, at zero."""
        self.store = store
        self._deliveries = Gauge(
            "pelee_watch_deliveries",
            "Deliveries: pending, delivered, given_up; of the events that are still stored.",
            ["destination", "state"],
            registry=registry,
        )
        self._counts = {
            "events": Gauge("pelee_watch_events", "Stored events.", registry=registry),
            "open": Gauge("pelee_watch_open_events", "Events that still last.", registry=registry),
            "bytes": Gauge("pelee_watch_file_bytes", "Size of all snapshots and clips.", registry=registry),
            "waiting": Gauge("pelee_watch_waiting", "States of events not yet in the database.", registry=registry),
        }

    def values(self) -> dict[str, Any]:
        """Return all numbers as plain values for JSON. Raises `DatabaseError`."""
        return {
            "destinations": self.store.outbox.counts(self.store.destinations),
            **self.store.queries.counts(),
            "waiting": self.store.waiting,
        }

    def refresh(self) -> None:
        """Read the numbers. Raises `DatabaseError`."""
        values = self.values()
        for name, gauge in self._counts.items():
            gauge.set(values[name])
        for one in values["destinations"]:
            for state in DeliveryState:
                self._deliveries.labels(one["destination"], str(state)).set(one[state])
