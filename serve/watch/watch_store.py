"""Watch store: the sink of a watch's events, with database, outbox, deliveries and retention behind it."""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from data.errors import SettingsError
from detection.watch.event import Event
from serve.observability.json_logging import log
from serve.watch.deliveries.courier import Courier
from serve.watch.deliveries.destination import DEFAULT_PACE, Destination, RetryPace
from serve.watch.deliveries.event_lines import EventLines
from serve.watch.deliveries.mqtt_destination import MqttDestination
from serve.watch.deliveries.outbox import Outbox
from serve.watch.deliveries.webhook import Webhook
from serve.watch.settings import StoreSettings
from serve.watch.storage.database import Database, DatabaseError
from serve.watch.storage.event_queries import EventQueries
from serve.watch.storage.event_store import EventStore
from serve.watch.storage.repair import repair
from serve.watch.storage.retention import Retention

HOUSEKEEPING_S = 5.0  # s between two tries of what could not be written, and checks of the free space
RETENTION_ROUNDS = 60  # of these between two runs of retention
MOST_WAITING = 10_000  # states of events that wait in memory for a database


class WatchStore:
    """Sink of a watch (`detection.watch.event.EventSink`). Its methods do not raise.

    What cannot be written, because the database is locked or away or its disk is full, waits in memory, in order, and
    is written when that is over.

    Attributes:
        folder: of the events' files.
        database, queries, outbox, retention: see there.
        destinations: names of the destinations.
    """

    def __init__(
        self, database: Database, settings: StoreSettings, destinations: Sequence[Destination], pace: RetryPace
    ) -> None:
        """Start deliveries and housekeeping; the store closes the database."""
        self.folder = settings.folder
        self.database = database
        self.queries = EventQueries(database)
        self.outbox = Outbox(database)
        self.destinations = tuple(one.route.destination for one in destinations)
        self.retention = Retention(database, settings.folder, settings.retention)
        self._events = EventStore(database, settings.folder, [one.route for one in destinations])
        self._waiting: list[tuple[Callable[[Event], bool], Event]] = []
        self._lock = threading.Lock()  # of writing, and of `_waiting`
        self._listeners: list[Callable[[], None]] = []
        self._repair()
        self._courier = Courier(self.outbox, destinations, pace)
        self._stop = threading.Event()
        self._housekeeper = threading.Thread(target=self._keep_house, name="housekeeping", daemon=True)
        self._housekeeper.start()

    def begin(self, event: Event) -> None:
        """Store a new event, and its deliveries."""
        self._write(self._events.begin, event)

    def update(self, event: Event) -> None:
        """Store a later state."""
        self._write(self._events.update, event)

    def finish(self, event: Event) -> None:
        """Store the last state, and its deliveries."""
        self._write(self._events.finish, event)

    def close(self) -> None:
        """Write what waits, try deliveries that are due for a few seconds, and close the database; once."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._housekeeper.join()
        with self._lock:
            self._flush()
            for _, event in self._waiting:
                log(logging.ERROR, "an event could not be stored", state=event.to_json() | {"boxes": []})
        self._courier.close()
        self.database.close()

    @property
    def waiting(self) -> int:
        """Number of states of events that could not be written yet."""
        return len(self._waiting)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function, in some thread, after each change of events; returns what ends that."""
        self._listeners.append(listener)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return end

    def _write(self, method: Callable[[Event], bool], event: Event) -> None:
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                log(logging.ERROR, "an event could not be stored", state=event.to_json() | {"boxes": []})
                return
            self._waiting.append((method, event))
            written = self._flush()
        if written:
            self._notify()

    def _flush(self) -> bool:
        """Write what waits, in its order, as far as possible; returns whether something was written."""
        written = False
        while self._waiting:
            method, event = self._waiting[0]
            try:
                self._write_now(method, event)
            except DatabaseError as error:
                log(logging.ERROR, "events wait for the database", waiting=len(self._waiting), problem=str(error))
                break
            del self._waiting[0]
            written = True
        return written

    def _write_now(self, method: Callable[[Event], bool], event: Event) -> None:
        try:
            method(event)
        except DatabaseError as error:
            if not error.full and not self.retention.almost_full():
                raise
            with contextlib.suppress(DatabaseError):  # the files are removed before the database is written
                self.retention.make_room()
            method(event)

    def _notify(self) -> None:
        self._courier.wake()
        for listener in list(self._listeners):
            listener()

    def _repair(self) -> None:
        interrupted = self._events.close_interrupted()
        report = repair(self.database, self.folder)
        dropped = self.outbox.drop_others(self.destinations)
        if interrupted or report.removed or report.marked or dropped:
            log(
                logging.WARNING,
                "repaired",
                interrupted=interrupted,
                removed_files=report.removed,
                marked_events=report.marked,
                dropped_deliveries=dropped,
            )
        if report.kept:
            log(
                logging.WARNING,
                "the database is new, and the folder holds files of events; they are left",
                files=report.kept,
                folder=str(self.folder),
            )

    def _keep_house(self) -> None:
        rounds = 0
        while True:
            try:
                with self._lock:
                    written = self._flush()
                dropped = self.retention.free_space()
                if rounds % RETENTION_ROUNDS == 0:
                    dropped += self.retention.expire(datetime.now(UTC)) + self.retention.limit_sizes()
                if written or dropped:
                    self._notify()
            except DatabaseError as error:
                log(logging.ERROR, "retention waits for the database", problem=str(error))
            except Exception as error:
                log(logging.ERROR, "bug", error)
            rounds += 1
            if self._stop.wait(HOUSEKEEPING_S):
                return


def open_watch_store(
    settings: StoreSettings, cameras: Mapping[str, Sequence[str]], pace: RetryPace = DEFAULT_PACE
) -> WatchStore:
    """Open the database, repair what an earlier run left, and start the deliveries.

    Args:
        settings: of `read_store_settings`.
        cameras: names of the rules of each camera.
        pace: waits between the attempts of a delivery.

    Raises:
        DatabaseError: in one line.
        SettingsError: the folder cannot be made.
    """
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"folder {settings.folder}: cannot be made: {error.strerror}") from None
    destinations: list[Destination] = [Webhook(name, one) for name, one in settings.webhooks.items()]
    if settings.mqtt is not None:
        destinations.append(MqttDestination(settings.mqtt, cameras, settings.folder))
    if settings.json_lines is not None:
        destinations.append(EventLines(Path(settings.json_lines)))
    database = Database(settings.database)
    try:
        return WatchStore(database, settings, destinations, pace)
    except BaseException:
        database.close()
        raise
