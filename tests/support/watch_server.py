"""API of a watch on a real socket, with events that the test writes and cameras that do not exist."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from serve.settings import load_settings
from serve.watch.api.watch_server import running_server
from serve.watch.watch_store import WatchStore, open_watch_store
from tests.support.watch_events import store_settings

STATUS: dict[str, Any] = {
    "name": "yard",
    "source": "rtsp://camera/1",
    "state": "live",
    "problem": None,
    "size": [64, 48],
    "frames_per_second": 10.0,
    "analyzed_per_second": 0.5,
    "frames": 100,
    "analyzed": 5,
    "tiles": 1,
    "dropped": 0,
    "damaged": 0,
    "reconnects": 0,
    "age_p99_ms": 120.0,
    "objects": 1,
}


class FakeCameras:
    """Cameras of a watch: one, with a gray frame."""

    def status(self) -> list[dict[str, Any]]:
        return [STATUS]

    def image(self, camera: str) -> np.ndarray | None:
        return np.full((48, 64, 3), 128, np.uint8) if camera == "yard" else None


@dataclass
class WatchApi:
    store: WatchStore
    client: httpx.Client
    address: str
    folder: Path


@contextlib.contextmanager
def running_api(folder: Path, storage: dict[str, Any] | None = None, **settings: Any) -> Iterator[WatchApi]:
    store = open_watch_store(store_settings(folder, **(storage or {})), {"yard": ["people"]})
    chosen = load_settings(**({"port": 0, "log_level": "warning"} | settings))
    try:
        with running_server(chosen, store, FakeCameras()) as address, httpx.Client(base_url=address) as client:
            yield WatchApi(store, client, address, folder)
    finally:
        store.close()
