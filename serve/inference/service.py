"""From a picture's bytes to its answer: decoding, queue, network and postprocessing, each in its own threads."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from data.images.image_io import read_image
from data.images.preprocess import preprocess
from detection.drawing import draw
from detection.inference.nms import postprocess
from detection.inference.options import Search
from detection.inference.prediction import Prediction
from detection.inference.result_formats import to_dict
from pelee.classification.results import Classification
from pelee.classification.results import to_dict as classes_to_dict
from serve.errors import ClientGone, ServiceError
from serve.inference.admission import Admission
from serve.inference.batcher import Batcher, Inference, Job, late
from serve.inference.image_decoding import encode_jpeg, open_picture
from serve.inference.model_pool import Models, ServedModel, Source
from serve.inference.thread_priority import step_back
from serve.observability.metrics import Metrics
from serve.settings import ServeSettings
from serve.web.request_body import BodyReader, Receive, files_in

Result = TypeVar("Result")
LARGE_FORM = 500_000  # bytes, of which a form takes the event loop's thread five milliseconds to take apart
#: Refusals that say nothing against the request itself.
REFUSALS = ("busy", "not_ready", "draining", "inference_failed")
SOURCE = "upload"  # stands where a command's answer has the file's name: a stranger's is never used


@dataclass(slots=True)
class Picture:
    """A picture on its way.

    Attributes:
        content: the file; None once nobody waits for it any more.
        width, height: of the upright picture, once it is decoded.
        seconds: that decoding took.
    """

    content: bytes | None
    width: int = 0
    height: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One picture's answer.

    Attributes:
        values: plain values, ready for JSON.
        timings: seconds by stage, and "total".
        jpeg: the picture with its boxes, where that was asked for.
    """

    values: dict[str, Any]
    timings: dict[str, float]
    jpeg: bytes | None = None


class Service:
    """What the endpoints of one application share. Its methods belong to the event loop's thread."""

    def __init__(self, settings: ServeSettings, sources: Mapping[str, Source]) -> None:
        """Take the settings and the models, which `start` loads."""
        self.settings = settings
        self.metrics = Metrics()
        self.models = Models(sources)
        self.admission = Admission(settings.queue_size, settings.deadline_s)
        self.bodies = BodyReader(settings.max_body, int(settings.max_buffered_mb * 1e6), settings.body_timeout_s)
        self.metrics.queue.set_function(lambda: self.admission.pending)
        self._decoding: set[Future[Inference]] = set()  # futures of what is on its way to the batcher
        self.batcher = Batcher(settings.batch_wait_ms / 1000, lambda: len(self._decoding), self.metrics)
        self.open_sockets = 0
        self._decoders = ThreadPoolExecutor(settings.decoders, "decode", step_back)
        # A thread of its own: what is nearly done does not wait behind what has only come.
        self._finisher = ThreadPoolExecutor(1, "finish", step_back)
        # Not asyncio's own pool: the end of the event loop waits for that one, however long a model takes. Runtimes'
        # threads begin here, and are as this one is.
        self._loader = ThreadPoolExecutor(1, "load", step_back)

    @property
    def ready(self) -> bool:
        """Whether a request would be answered: models loaded and warm, the inference thread well, not stopping."""
        return self.models.ready and self.batcher.well and not self.admission.draining

    def close(self) -> None:
        """End the threads; what waits for a decoder is given up."""
        self.batcher.stop()
        for pool in (self._decoders, self._finisher, self._loader):
            pool.shutdown(wait=False, cancel_futures=True)

    async def load(self) -> None:
        """Load all models, in a thread; errors as `Models.reload`."""
        await self._in(self._loader, self.models.load_all)

    async def reload(self, name: str) -> ServedModel:
        """Load a model again, in a thread; errors as `Models.reload`."""
        return await self._in(self._loader, self.models.reload, name)

    async def files(self, content_type: str, body: bytes, most: int) -> list[bytes]:
        """`files_in`; a large form is taken apart in a decoder's thread."""
        if len(body) < LARGE_FORM:
            return files_in(content_type, body, most)
        return await self._in(self._decoders, files_in, content_type, body, most)

    def note(self, error: ServiceError, model: str) -> None:
        """Count an error that is answered, where it says something of the server: a refusal, a deadline."""
        if error.code in REFUSALS:
            self.metrics.refused.labels(error.code, model).inc()
        elif error.code == "deadline_exceeded":
            self.metrics.dropped.labels("deadline", model).inc()

    async def detect(self, content: bytes, model: ServedModel, search: Search, annotated: bool = False) -> Answer:
        """Find what is in a picture. Raises `ServiceError`."""

        def finish(outputs: tuple[np.ndarray, ...], picture: Picture) -> tuple[dict[str, Any], Prediction]:
            scores, boxes = outputs  # (P, C), (P, 4)
            found = postprocess(
                scores,
                boxes,
                width=picture.width,
                height=picture.height,
                confidence=search.confidence,
                iou=search.iou,
                keep=search.max_detections,
                classes=search.classes,
            )
            return to_dict(SOURCE, 0, picture.width, picture.height, found, model.class_names), found

        (values, found), timings = await self._through(content, model, finish)
        jpeg = None
        if annotated:
            # Decoded again: to keep every picture until its boxes are known would take gigabytes.
            jpeg = await self._in(self._decoders, _draw, content, found, model.class_names)
        return Answer(values, timings, jpeg)

    async def classify(self, content: bytes, model: ServedModel, top: int) -> Answer:
        """Say what a picture shows. Raises `ServiceError`."""

        def finish(outputs: tuple[np.ndarray, ...], picture: Picture) -> dict[str, Any]:
            result = Classification(outputs[0], model.class_names)
            return classes_to_dict(SOURCE, picture.width, picture.height, result, top)

        return Answer(*await self._through(content, model, finish))

    async def _through(
        self,
        content: bytes,
        model: ServedModel,
        finish: Callable[[tuple[np.ndarray, ...], Picture], Result],
    ) -> tuple[Result, dict[str, float]]:
        """Bytes -> decoded -> queue and network -> `finish`; and the seconds of each stage.

        From the decoder to the network a picture goes from thread to thread: the event loop, which may be busy, hears
        of it when its outputs are there.
        """
        start = time.monotonic()
        picture, inference = Picture(content), Future[Inference]()
        self._decoding.add(inference)
        try:
            self._decoders.submit(self._decode, picture, model, start + self.settings.deadline_s, inference)
            outcome = await asyncio.wrap_future(inference)
        finally:
            # Where nobody waits any more: the pool keeps what it was given until its turn comes.
            picture.content = None
            self._decoding.discard(inference)
        before = time.monotonic()
        result = await self._in(self._finisher, finish, outcome.outputs, picture)
        end = time.monotonic()
        timings = {
            "decode": picture.seconds,
            "queue": outcome.queued,
            "network": outcome.network,
            "postprocess": end - before,
        }
        for stage, seconds in timings.items():
            self.metrics.stages.labels(stage, model.name).observe(seconds)
        return result, timings | {"total": end - start}

    def _decode(self, picture: Picture, model: ServedModel, deadline: float, inference: Future[Inference]) -> None:
        """Decode a picture, unless it is late or nobody waits for it, and queue it; an error goes to the future."""
        start = time.monotonic()
        content = picture.content
        if content is None or inference.cancelled():
            return
        try:
            if start > deadline:
                raise late()
            image = open_picture(content, self.settings.max_pixels)
            picture.height, picture.width = image.shape[:2]
            square = preprocess(image, model.session.input_size)
        except BaseException as error:
            if inference.set_running_or_notify_cancel():
                inference.set_exception(error)
            return
        added = time.monotonic()
        picture.seconds = added - start
        self._decoding.discard(inference)
        self.batcher.add(Job(model, square, deadline, added, inference))

    @staticmethod
    async def _in(pool: ThreadPoolExecutor, function: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *args)

    async def while_wanted(
        self, work: Coroutine[Any, Any, Result], gone: Coroutine[Any, Any, None], model: str
    ) -> Result:
        """Do the work unless the deadline passes or the client goes: then it is cancelled, and leaves the queue.

        Args:
            work: ends within the deadline or never.
            gone: returns when the client has gone.
            model: the name of the model that works, for the metrics.

        Raises:
            ServiceError: `deadline_exceeded`, or what the work raises.
            ClientGone: nobody waits for it any more.
        """
        task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone)
        try:
            await asyncio.wait({task, watch}, timeout=self.settings.deadline_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if not watch.done():
                raise late()
            self.metrics.dropped.labels("disconnect", model).inc()
            raise ClientGone
        finally:
            for part in (task, watch):
                part.cancel()
                part.add_done_callback(_forget)


async def until_disconnect(receive: Receive) -> None:
    """Return when the client of an HTTP request, whose body has been read, is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _draw(content: bytes, found: Prediction, names: tuple[str, ...]) -> bytes:
    image = read_image(content)
    return encode_jpeg(draw(image, *found, [names[label] for label in found.labels.tolist()]))


def _forget(task: "asyncio.Future[Any]") -> None:
    """Take a cancelled task's error, which asyncio would otherwise report as one that nobody saw."""
    if not task.cancelled():
        task.exception()
