"""Inference service: image bytes to results through decoding, queue, network and postprocessing threads."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from data.images.preprocess import preprocess
from detection.drawing import draw
from detection.inference.options import DetectionOptions
from detection.inference.prediction import Prediction
from detection.inference.result_formats import to_dict
from detection.tiling.tiling import Tiling
from pelee.classification.results import Classification
from pelee.classification.results import to_dict as classes_to_dict
from serve.errors import ClientDisconnected, ServiceError
from serve.inference.admission import Admission
from serve.inference.batcher import Batcher, Inference, Job, deadline_error
from serve.inference.decoders import Decoders, Upload
from serve.inference.image_decoding import ANNOTATED_SHARE, check_jpeg_size, decode_image, encode_jpeg
from serve.inference.memory import return_free_memory
from serve.inference.model_pool import ModelPool, ModelSource, ServedModel
from serve.inference.thread_priority import lower_thread_priority
from serve.inference.tiled_request import postprocess_views, tiles_of, view_futures
from serve.observability.metrics import Metrics
from serve.settings import ServeSettings

Result = TypeVar("Result")
#: Error codes of a server that cannot answer at present, counted as rejections; the request itself may be valid.
REJECTIONS = ("busy", "not_ready", "draining", "inference_failed")
IDLE_S = 2.0  # s without an image, after which free memory is returned to the system
SOURCE = "upload"  # value of "source" in results: a client's file name is never used


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of one image.

    Attributes:
        values: plain values, ready for JSON.
        timings: seconds by stage, and "total".
        jpeg: the annotated image, if requested.
        views: number of the images that went through the network: the whole one, and its tiles.
    """

    values: dict[str, Any]
    timings: dict[str, float]
    jpeg: bytes | None = None
    views: int = 1


class Service:
    """Models, queue, threads and metrics that the endpoints of one application share.

    Its methods run in the event loop's thread. It receives image bytes; requests and forms belong to `serve.web`.

    Attributes:
        settings: all settings.
        metrics: Prometheus counters.
        models: the served models.
        admission: number of images in progress.
        batcher: queue in front of the networks.
        decoders: threads that decode images.
        open_sockets: number of open WebSockets.
    """

    def __init__(self, settings: ServeSettings, sources: Mapping[str, ModelSource]) -> None:
        """Start the threads; `load` loads the models."""
        self.settings = settings
        self.metrics = Metrics()
        self.models = ModelPool(sources)
        self.admission = Admission(settings.queue_size, settings.deadline_s)
        self.metrics.queue.set_function(lambda: self.admission.pending)
        self._decoding: set[Future[Inference]] = set()  # futures of images not yet handed to the batcher
        self.batcher = Batcher(settings.batch_wait_ms / 1000, lambda: len(self._decoding), self.metrics)
        self.open_sockets = 0
        self.decoders = Decoders(settings.decoders, settings.max_decoding, settings.max_pixels)
        self._last_image = 0.0  # time of the latest image's end
        self._idle_timer: asyncio.TimerHandle | None = None
        # A thread of its own, so that postprocessing does not queue behind the decoding of newer images.
        self._finisher = ThreadPoolExecutor(1, "finish", lower_thread_priority)
        # Not asyncio's own pool: closing the event loop waits for that one, however long a model takes to load.
        # Runtimes start their threads here, and these inherit the priority.
        self._loader = ThreadPoolExecutor(1, "load", lower_thread_priority)

    @property
    def ready(self) -> bool:
        """Whether requests are served: models loaded and warm, inference thread healthy, not stopping."""
        return self.models.ready and self.batcher.healthy and not self.admission.draining

    def close(self) -> None:
        """Stop the threads; images that wait for a decoder are dropped."""
        self.batcher.stop()
        for pool in (self.decoders.pool, self._finisher, self._loader):
            pool.shutdown(wait=False, cancel_futures=True)

    async def load(self) -> None:
        """Load all models, in a thread; errors as in `ModelPool.reload`."""
        await self._run_in_executor(self._loader, self.models.load_all)

    async def reload(self, name: str) -> ServedModel:
        """Load a model again, in a thread; errors as in `ModelPool.reload`."""
        return await self._run_in_executor(self._loader, self.models.reload, name)

    def count_error(self, error: ServiceError, model: str) -> None:
        """Count an error response if it concerns the server's load: a rejection or a missed deadline."""
        if error.code in REJECTIONS:
            self.metrics.refused.labels(error.code, model).inc()
        elif error.code == "deadline_exceeded":
            self.metrics.dropped.labels("deadline", model).inc()

    async def detect(
        self,
        content: bytes,
        model: ServedModel,
        options: DetectionOptions,
        annotated: bool = False,
        tiling: Tiling | None = None,
    ) -> Answer:
        """Detect objects in an image file, and in its tiles. Raises `ServiceError`."""

        def finish(outputs: tuple[np.ndarray, ...], upload: Upload) -> tuple[dict[str, Any], Prediction, int]:
            found = postprocess_views(outputs, options, upload.width, upload.height, upload.tiles)
            values = to_dict(SOURCE, 0, upload.width, upload.height, found, model.class_names)
            return values, found, 1 if upload.tiles is None else 1 + len(upload.tiles)

        (values, found, views), timings = await self._run_pipeline(content, model, finish, tiling)
        jpeg = None
        if annotated:
            check_jpeg_size(values["width"], values["height"])
            jpeg = await self._annotate(content, found, model.class_names)
        return Answer(values, timings, jpeg, views)

    async def classify(self, content: bytes, model: ServedModel, top: int) -> Answer:
        """Classify an image file: its `top` most probable classes. Raises `ServiceError`."""

        def finish(outputs: tuple[np.ndarray, ...], upload: Upload) -> dict[str, Any]:
            result = Classification(outputs[0], model.class_names)
            return classes_to_dict(SOURCE, upload.width, upload.height, result, top)

        return Answer(*await self._run_pipeline(content, model, finish))

    async def _annotate(self, content: bytes, found: Prediction, names: tuple[str, ...]) -> bytes:
        """Decode an image again, as keeping each until its boxes are known would take gigabytes; draw and encode."""
        jpeg, max_pixels = Future[bytes](), self.settings.max_pixels
        labels = [names[label] for label in found.labels.tolist()]

        def work(content: bytes) -> None:
            if jpeg.set_running_or_notify_cancel():
                jpeg.set_result(encode_jpeg(draw(decode_image(content, max_pixels), *found, labels)))

        self.decoders.submit(Upload(content), jpeg, work, share=ANNOTATED_SHARE)
        try:
            return await asyncio.wrap_future(jpeg)
        finally:
            self._return_memory_when_idle()

    async def _run_pipeline(
        self,
        content: bytes,
        model: ServedModel,
        finish: Callable[[tuple[np.ndarray, ...], Upload], Result],
        tiling: Tiling | None = None,
    ) -> tuple[Result, dict[str, float]]:
        """Decode, queue, run the network and `finish`; returns the result and the seconds of each stage.

        Between decoder and network an image passes directly from thread to thread: the event loop, which may be busy,
        resumes only once the outputs are available.
        """
        start = time.monotonic()
        upload, inference = Upload(content), Future[Inference]()
        self._decoding.add(inference)
        try:
            decode = partial(self._decode, upload, model, start + self.settings.deadline_s, inference, tiling)
            self.decoders.submit(upload, inference, decode)
            outcome = await asyncio.wrap_future(inference)
        finally:
            # After a cancellation the pool still holds the upload until its turn comes: release the bytes now.
            upload.content = None
            self._decoding.discard(inference)
            self._return_memory_when_idle()
        before = time.monotonic()
        result = await self._run_in_executor(self._finisher, finish, outcome.outputs, upload)
        end = time.monotonic()
        timings = {
            "decode": upload.seconds,
            "queue": outcome.queued,
            "network": outcome.network,
            "postprocess": end - before,
        }
        for stage, seconds in timings.items():
            self.metrics.stages.labels(stage, model.name).observe(seconds)
        return result, timings | {"total": end - start}

    def _decode(
        self,
        upload: Upload,
        model: ServedModel,
        deadline: float,
        inference: Future[Inference],
        tiling: Tiling | None,
        content: bytes,
    ) -> None:
        """Decode an image and queue it and its tiles; raises an error if it is expired, or too small for them."""
        start = time.monotonic()
        if start > deadline:
            raise deadline_error()
        image = decode_image(content, self.settings.max_pixels)
        upload.height, upload.width = image.shape[:2]
        size = model.session.input_size
        resize = model.card.resize
        squares, futures = [preprocess(image, size, resize)], [inference]
        if tiling is not None:
            upload.tiles = tiles_of(tiling, upload.width, upload.height, size)
            squares += [preprocess(image[y1:y2, x1:x2], size, resize) for x1, y1, x2, y2 in upload.tiles.tolist()]
            futures = view_futures(inference, len(squares))
        added = time.monotonic()
        upload.seconds = added - start
        self._decoding.discard(inference)
        for square, future in zip(squares, futures, strict=True):
            self.batcher.add(Job(model, square, deadline, added, future))

    def _return_memory_when_idle(self) -> None:
        """Return free memory to the system `IDLE_S` after the last image, which ends now."""
        self._last_image = time.monotonic()
        self._start_idle_timer()

    def _start_idle_timer(self) -> None:
        if self._idle_timer is None:
            self._idle_timer = asyncio.get_running_loop().call_later(IDLE_S, self._on_idle_timer)

    def _on_idle_timer(self) -> None:
        self._idle_timer = None
        # Decoders may still be at work for requests that have ended.
        if self._decoding or self.decoders.memory.used or time.monotonic() - self._last_image < IDLE_S:
            self._start_idle_timer()
        else:
            self._loader.submit(return_free_memory)

    @staticmethod
    async def _run_in_executor(pool: ThreadPoolExecutor, function: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *args)

    async def run_until_disconnect(
        self, work: Coroutine[Any, Any, Result], disconnect: Coroutine[Any, Any, None], model: str
    ) -> Result:
        """Run a request's work; cancel it, which also removes it from the queue, at the deadline or a disconnect.

        Args:
            work: the request's work.
            disconnect: returns when the client has disconnected.
            model: name of the model in use, for the metrics.

        Raises:
            ServiceError: `deadline_exceeded`, or any error of the work.
            ClientDisconnected: the client disconnected first.
        """
        task, watch = asyncio.ensure_future(work), asyncio.ensure_future(disconnect)
        try:
            await asyncio.wait({task, watch}, timeout=self.settings.deadline_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if not watch.done():
                raise deadline_error()
            self.metrics.dropped.labels("disconnect", model).inc()
            raise ClientDisconnected
        finally:
            for part in (task, watch):
                part.cancel()
                part.add_done_callback(_discard_exception)


def _discard_exception(task: "asyncio.Future[Any]") -> None:
    """Retrieve a cancelled task's exception, which asyncio would otherwise log as never retrieved."""
    if not task.cancelled():
        task.exception()
