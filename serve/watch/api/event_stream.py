"""Event stream: server-sent events of every change of an event, from a given one on."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from data.errors import PeleeError
from serve.inference.service import Service
from serve.watch.watch_store import WatchStore

PING_S = 15.0  # s without a change after which a comment is sent: proxies close silent connections
LOOK_S = 1.0  # s between two looks whether the server stops
EARLY_PINGS = (
    3  # one each LOOK_S: a client that leaves at once looks like one that half-closes, until two writes failed
)
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
    silent, early = 0.0, 0
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
            if silent >= (PING_S if early == EARLY_PINGS else LOOK_S):
                silent = 0.0
                early = min(early + 1, EARLY_PINGS)
                yield format_sse_event(comment="ping")
    finally:
        end()


class ChangeResponse(EventSourceResponse):
    """Response that holds a place among the service's long-lived connections (`max_websockets`) until it has ended.

    A client may leave before the content is asked for the first time: the content's own `finally` would not run then.
    """

    def __init__(self, service: Service, content: AsyncIterator[bytes]) -> None:
        """Take a place for a stream of changes."""
        super().__init__(content, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._service = service
        self._count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the content, and give the place back."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._service.open_sockets += change
        self._service.metrics.websockets.set(self._service.open_sockets)
