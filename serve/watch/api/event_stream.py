"""Event stream: server-sent events of every change of an event, from a given one on."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

from fastapi.sse import format_sse_event

from data.errors import PeleeError
from serve.inference.service import Service
from serve.watch.watch_store import WatchStore

PING_S = 15.0  # s without a change after which a comment is sent: proxies close silent connections
LOOK_S = 1.0  # s between two looks whether the server stops
RETRY_MS = 2000  # ms after which a browser connects again
BATCH = 100


async def change_stream(store: WatchStore, after: int, draining: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield events that have changed, in the order of their changes: its number as id, phase as event, JSON as data.

    A client that comes back gets the latest state of each event that has changed meanwhile, not every state between.

    Args:
        store: of the events.
        after: number of the change before the first one.
        draining: whether the server stops; the stream then ends.
    """
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(changed.set)

    end = store.listen(wake)
    silent = 0.0
    try:
        yield format_sse_event(comment="changes of events", retry=RETRY_MS)
        while not draining():
            changed.clear()
            try:
                events = await asyncio.to_thread(store.queries.changes, after, BATCH)
            except PeleeError:  # the client connects again, and gets the error as its response
                return
            for event in events:
                after = event["change"]
                yield format_sse_event(data_str=json.dumps(event), event=event["phase"], id=str(after))
            if events:
                silent = 0.0
                continue
            try:
                await asyncio.wait_for(changed.wait(), LOOK_S)
            except TimeoutError:
                silent += LOOK_S
            if silent >= PING_S:
                silent = 0.0
                yield format_sse_event(comment="ping")
    finally:
        end()


class StreamPlace:
    """Place of an open stream among the service's long-lived connections (`max_websockets`)."""

    def __init__(self, service: Service) -> None:
        """Take a place; `release` gives it back."""
        self.service = service
        service.open_sockets += 1
        service.metrics.websockets.set(service.open_sockets)

    def release(self) -> None:
        """Give the place back."""
        self.service.open_sockets -= 1
        self.service.metrics.websockets.set(self.service.open_sockets)
