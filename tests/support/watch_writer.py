"""Process that writes events into a watch store until it is killed, and notes each step in a journal when it is done.

    python -m tests.support.watch_writer FOLDER WEBHOOK_URL MQTT_PORT (write|drain)

`drain` writes nothing: it waits until the outbox is empty, and ends.
"""

import logging
import os
import random
import sys
import time
from pathlib import Path

from serve.watch.deliveries.destination import RetryPace
from serve.watch.settings import MqttSettings, WebhookSettings
from serve.watch.watch_store import open_watch_store
from tests.support.watch_events import ended, make_event, store_settings, write_files

CAMERAS = ("yard", "road", "attic")
OPEN = 6  # events that last at the same time
STEP_S = 0.004
DRAIN_S = 120.0


def main(folder: Path, url: str, port: int, mode: str) -> None:
    settings = store_settings(
        folder,
        webhooks={"hook": WebhookSettings(url)},
        mqtt=MqttSettings("127.0.0.1", port, snapshots=False),
        json_lines=folder / "events.jsonl",
    )
    store = open_watch_store(settings, {camera: ["people"] for camera in CAMERAS}, RetryPace(0.05, 0.5))
    journal = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(*words: str) -> None:
        os.write(journal, (" ".join(words) + "\n").encode())

    note("started")
    if mode == "drain":
        deadline = time.monotonic() + DRAIN_S
        while any(one["pending"] for one in store.outbox.counts(store.destinations)):
            assert time.monotonic() < deadline, store.outbox.counts(store.destinations)
            time.sleep(0.02)
        store.close()
        return
    chance = random.Random()
    lasting = []
    while True:
        if len(lasting) < OPEN and chance.random() < 0.5:
            event = make_event(camera=chance.choice(CAMERAS))
            write_files(folder, event)
            store.begin(event)
            note("begin", event.id)
            lasting.append(event)
        elif lasting:
            event = lasting.pop(chance.randrange(len(lasting)))
            if chance.random() < 0.5:
                store.update(event)
                lasting.append(event)
            else:
                store.finish(ended(event))
                note("finish", event.id)
        time.sleep(STEP_S)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
