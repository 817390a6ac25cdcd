"""Server with fake networks, on a real socket, in a thread of the test process."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from serve.inference.model_pool import ModelSource, ServedModel
from serve.inference.service import Service
from serve.settings import ServeSettings, load_settings
from serve.web.app import create_app
from serve.web.request_body import BodyReader
from serve.web.server import Server, bind
from weights.card import Card

SIZE = 32
CLASSES = ["bright thing", "dark thing", "unseen"]
SCORES = (0.9, 0.4, 0.0)
BOX = (0.25, 0.5, 0.75, 1.0)  # of every detection, relative to the image


class FakeNetwork:
    """Session that returns a "bright thing" (score 0.9) and a "dark thing" (0.4) at `BOX` for every image.

    Attributes:
        seen: mean of each input image, batch by batch.
        seconds: time of a batch.
        gate: results are held back while it is cleared.
        error: raised by the next `submit`, once.
        invalid: return NaN.
        called: number of synchronous calls.
    """

    def __init__(self, classification: bool = False, seconds: float = 0.0) -> None:
        self.name, self.input_size, self.parallel, self.batch = "fake", SIZE, 1, 1
        self.classification = classification
        self.seconds = seconds
        self.seen: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.invalid = False
        self.called = 0
        self._pool = ThreadPoolExecutor(1)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        self.called += 1
        return self.submit(images).result()

    def submit(self, images: np.ndarray) -> "Future[tuple[np.ndarray, ...]]":
        assert images.dtype == np.uint8 and images.shape[1:] == (SIZE, SIZE, 3)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self._pool.submit(self._run, images)

    def _run(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        self.seen.append([float(image.mean()) for image in images])
        if images.any():  # warm-up images are black
            time.sleep(self.seconds)
        assert self.gate.wait(60)
        count = len(images)
        if self.classification:
            probabilities = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (count, 1))
            return (probabilities * np.nan if self.invalid else probabilities,)
        scores = np.zeros((count, 2, 3), np.float32)
        scores[:, 0, 0], scores[:, 1, 1] = SCORES[:2]
        if self.invalid:
            scores[:, 1] = np.nan
        return scores, np.tile(np.array(BOX, np.float32), (count, 2, 1))

    @property
    def image_count(self) -> int:
        """Number of input images, without those of the warm-up (which are black)."""
        return sum(mean > 0 for batch in self.seen for mean in batch)

    def source(self, name: str = "fake", batch_size: int = 4) -> ModelSource:
        card = Card(
            name, "classification" if self.classification else "detection", "fake", list(CLASSES), SIZE,
            default_confidence=0.5,
        )  # fmt: skip
        return ModelSource(card, lambda: ServedModel(name, card, self, batch_size, self))


def fake_sources(network: FakeNetwork) -> dict[str, ModelSource]:
    """Models of a server: two detectors, of which the first is the network, and a classifier."""
    return {
        "fake": network.source(),
        "second": FakeNetwork().source("second"),
        "classes": FakeNetwork(classification=True).source("classes"),
    }


class AnyServer:
    """Server in any process: its address, a client, its metrics."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.host, self.port = "127.0.0.1", int(address.rpartition(":")[2])
        self.client = httpx.Client(base_url=address, timeout=60)

    def metric(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == name and sample.labels == labels)


class RunningServer(AnyServer):
    """Server in this process, with its internals."""

    def __init__(self, server: Server, address: str, thread: threading.Thread) -> None:
        super().__init__(address)
        self.server = server
        self.thread = thread

    @property
    def service(self) -> Service:
        return self.server.service

    @property
    def bodies(self) -> BodyReader:
        return self.server.app.state.bodies  # type: ignore[no-any-return]

    def metric(self, name: str, **labels: str) -> float:
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0


def settings(**changes: Any) -> ServeSettings:
    return load_settings(**({"host": "127.0.0.1", "port": 0, "log_level": "warning"} | changes))


@contextlib.contextmanager
def running(sources: dict[str, ModelSource], *, ready: bool = True, **changes: Any) -> Iterator[RunningServer]:
    """Serve until the block ends."""
    chosen = settings(**changes)
    listener = bind(chosen.host, chosen.port)
    server = Server(create_app(chosen, sources), chosen)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    live = RunningServer(server, f"http://127.0.0.1:{listener.getsockname()[1]}", thread)
    try:
        state = server.app.state
        wait_until(lambda: state.failure or (server.started and (not ready or live.service.models.ready)))
        if state.failure is not None:
            raise state.failure
        yield live
    finally:
        live.client.close()
        server.should_exit = server.force_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def wait_until(condition: Any, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"the condition did not hold within {seconds} s"
        time.sleep(0.005)


def image(width: int = 80, height: int = 60, level: int = 128) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def encoded(source: np.ndarray | Image.Image | None = None, form: str = "JPEG", **options: Any) -> bytes:
    source = image() if source is None else source
    whole = source if isinstance(source, Image.Image) else Image.fromarray(source)
    file = BytesIO()
    whole.save(file, format=form, **options)
    return file.getvalue()
